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


rule draw_sampled_audit:
    input:
        sources("metarl.figures.sampled_audit"),
        tables=SAMPLED_TABLES,
    output:
        report(
            f"{FIGURES}/sampled_audit.svg",
            caption="../report/sampled_audit.rst",
            category="Audit",
            labels={"figure": "Bias and variance, sampled"},
        ),
        f"{FIGURES}/sampled_audit.png",
    log:
        f"{LOGS}/figures/sampled_audit.log",
    params:
        stem=lambda wildcards, output: output[0].removesuffix(".svg"),
    shell:
        "metarl figure sampled_audit --inputs {input.tables} --output {params.stem} > {log} 2>&1"


rule draw_estimator_matrix:
    input:
        sources("metarl.figures.estimator_matrix"),
        tables=[f"{RESULTS}/audit/exact_chain.parquet", *MUJOCO_TABLES],
    output:
        report(
            f"{FIGURES}/estimator_matrix.svg",
            caption="../report/estimator_matrix.rst",
            category="Audit",
            labels={"figure": "What practical estimators keep of LSF"},
        ),
        f"{FIGURES}/estimator_matrix.png",
        f"{FIGURES}/estimator_matrix.md",
    log:
        f"{LOGS}/figures/estimator_matrix.log",
    params:
        stem=lambda wildcards, output: output[0].removesuffix(".svg"),
    shell:
        "metarl figure estimator_matrix --inputs {input.tables} --output {params.stem} > {log} 2>&1"


rule draw_budget:
    input:
        sources("metarl.figures.budget"),
        tables=JUDGED_TABLES,
    output:
        report(
            f"{FIGURES}/budget.svg",
            caption="../report/budget.rst",
            category="Audit",
            labels={"figure": "Which estimator for which budget"},
        ),
        f"{FIGURES}/budget.png",
    log:
        f"{LOGS}/figures/budget.log",
    params:
        stem=lambda wildcards, output: output[0].removesuffix(".svg"),
    shell:
        "metarl figure budget --inputs {input.tables} --output {params.stem} > {log} 2>&1"


rule draw_convergence:
    input:
        sources("metarl.figures.convergence"),
        tables=CONVERGENCE_TABLES,
    output:
        report(
            f"{FIGURES}/convergence.svg",
            caption="../report/convergence.rst",
            category="Training",
            labels={"figure": "Convergence of SGD"},
        ),
        f"{FIGURES}/convergence.png",
    log:
        f"{LOGS}/figures/convergence.log",
    params:
        stem=lambda wildcards, output: output[0].removesuffix(".svg"),
    shell:
        "metarl figure convergence --inputs {input.tables} --output {params.stem} > {log} 2>&1"


rule draw_sample_sizes:
    input:
        sources("metarl.figures.sample_sizes"),
        tables=STUDIED_TABLES,
    output:
        report(
            f"{FIGURES}/sample_sizes.svg",
            caption="../report/sample_sizes.rst",
            category="Training",
            labels={"figure": "Returns against N"},
        ),
        f"{FIGURES}/sample_sizes.png",
    log:
        f"{LOGS}/figures/sample_sizes.log",
    params:
        stem=lambda wildcards, output: output[0].removesuffix(".svg"),
    shell:
        "metarl figure sample_sizes --inputs {input.tables} --output {params.stem} > {log} 2>&1"
