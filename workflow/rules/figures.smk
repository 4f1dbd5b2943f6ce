# Pictures of the tables; restyling one redraws it and nothing else.
for figure in DRAWN:

    rule:
        name:
            f"draw_{figure.name}"
        input:
            sources(f"metarl.figures.{figure.name}"),
            tables=[table for kind in figure.inputs for table in TABLES[kind]],
        output:
            report(
                f"{FIGURES}/{figure.name}.svg",
                caption=f"../report/{figure.name}.rst",
                category=figure.category,
                labels={"figure": figure.label},
            ),
            [f"{FIGURES}/{figure.name}.{suffix}" for suffix in figure.formats[1:]],
        log:
            f"{LOGS}/figures/{figure.name}.log",
        params:
            name=figure.name,
            confidence=(f"--confidence {CONFIDENCE}" if figure.intervals else ""),
            stem=lambda wildcards, output: output[0].removesuffix(".svg"),
        message:
            f"figure {figure.name}"
        shell:
            "metarl figure {params.name} --inputs {input.tables} {params.confidence}"
            " --output {params.stem} > {log} 2>&1"


# Copies what the documentation shows of a run into the repository, the only rule that writes there;
# the Snakefile refuses it at any scale but the default one.
# Without outputs, it copies whenever it is asked for, whatever the dates of the committed files.
rule paper_figures:
    input:
        PICTURES,
        LEDGER,
    log:
        f"{LOGS}/paper_figures.log",
    localrule: True
    params:
        folder=f"{HOME}paper_figures",
    message:
        "figures and verdicts into {params.folder}"
    shell:
        "mkdir -p {params.folder:q} && cp {input} {params.folder:q} > {log} 2>&1"
