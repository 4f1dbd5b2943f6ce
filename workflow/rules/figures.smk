# Pictures of the tables; restyling one redraws it and nothing else.
rule draw_exact_audit:
    input:
        sources("metarl.figures.exact_audit"),
        tables=AUDIT_TABLES,
    output:
        report(
            f"{FIGURES}/exact_audit.svg",
            caption="../report/exact_audit.rst",
            category="Audit",
            labels={"figure": "Bias and variance, exact"},
        ),
        f"{FIGURES}/exact_audit.png",
    log:
        f"{LOGS}/figures/exact_audit.log",
    params:
        stem=lambda wildcards, output: output[0].removesuffix(".svg"),
    shell:
        "metarl figure exact_audit --inputs {input.tables} --output {params.stem} > {log} 2>&1"


rule draw_published_code:
    input:
        sources("metarl.figures.published_code"),
        tables=AUDIT_TABLES,
    output:
        report(
            f"{FIGURES}/published_code.svg",
            caption="../report/published_code.rst",
            category="Audit",
            labels={"figure": "What practical code estimates"},
        ),
        f"{FIGURES}/published_code.png",
        f"{FIGURES}/published_code.md",
    log:
        f"{LOGS}/figures/published_code.log",
    params:
        stem=lambda wildcards, output: output[0].removesuffix(".svg"),
    shell:
        "metarl figure published_code --inputs {input.tables} --output {params.stem} > {log} 2>&1"


rule draw_learning_curves:
    input:
        sources("metarl.figures.learning_curves"),
        tables=TRAINING_TABLES,
    output:
        report(
            f"{FIGURES}/learning_curves.svg",
            caption="../report/learning_curves.rst",
            category="Training",
            labels={"figure": "Learning curves"},
        ),
        f"{FIGURES}/learning_curves.png",
    log:
        f"{LOGS}/figures/learning_curves.log",
    params:
        stem=lambda wildcards, output: output[0].removesuffix(".svg"),
    shell:
        "metarl figure learning_curves --inputs {input.tables} --output {params.stem} > {log} 2>&1"


rule draw_adaptation:
    input:
        sources("metarl.figures.adaptation"),
        tables=EVALUATION_TABLES,
    output:
        report(
            f"{FIGURES}/adaptation.svg",
            caption="../report/adaptation.rst",
            category="Training",
            labels={"figure": "Adaptation to held-out tasks"},
        ),
        f"{FIGURES}/adaptation.png",
    log:
        f"{LOGS}/figures/adaptation.log",
    params:
        stem=lambda wildcards, output: output[0].removesuffix(".svg"),
    shell:
        "metarl figure adaptation --inputs {input.tables} --output {params.stem} > {log} 2>&1"
