# What adaptation does, as an animated picture; an empty file where nothing draws offscreen.
rule film:
    input:
        lambda wildcards: sources("metarl.film", environment_module(wildcards.environment)),
        policy=lambda wildcards: expand(
            f"{RESULTS}/train/{RUN}.npz",
            environment=wildcards.environment,
            algorithm=FILMED,
            seed=SEEDS[wildcards.environment][0],
        ),
    output:
        f"{RESULTS}/films/{{environment}}.webp",
    log:
        f"{LOGS}/films/{{environment}}.log",
    threads: 1
    message:
        "film of adaptation on {wildcards.environment}"
    shell:
        "metarl film --policy {input.policy} --output {output} > {log} 2>&1"
        " || {{ grep -qE 'nothing draws frames|render_mode is' {log} && : > {output}; }}"


# Everything on one page, which a browser opens without a network: verdicts, charts to explore, figures,
# settings and processor time.
rule page:
    input:
        sources("metarl.report_page"),
        pictures=[f"{FIGURES}/{figure.name}.png" for figure in DRAWN],
        claims=f"{FIGURES}/claims.json",
        training=TRAINING_TABLES,
        exact=AUDIT_TABLES,
        films=expand(f"{RESULTS}/films/{{environment}}.webp", environment=ENVIRONMENTS),
    output:
        f"{FIGURES}/index.html",
    log:
        f"{LOGS}/page.log",
    params:
        scale=Path(RESULTS).name,
        banner=(
            "--banner 'Smoke scale: the numbers of this scale mean nothing.'"
            if RESULTS == "results/smoke"
            else ""
        ),
        settings=yaml.safe_dump(config, sort_keys=False, width=100),
        benchmarks=BENCHMARKS,
        folder=lambda wildcards, output: Path(output[0]).parent,
    message:
        "the page of all results"
    shell:
        "metarl page --figures {params.folder} --claims {input.claims} --scale {params.scale:q}"
        " {params.banner} --training {input.training} --exact {input.exact}"
        " --films {input.films} --benchmarks {params.benchmarks} --settings {params.settings:q}"
        " --output {output} > {log} 2>&1"
