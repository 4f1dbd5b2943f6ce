# Runs with published settings. They take core-hours, so `all` does not make them: it draws and judges
# what is kept of them in ARCHIVE, which no rule claims as output. `published` keeps them there at the
# default scale, and below the results at others and in other directories.
KEPT = ARCHIVE if AT_HOME and RESULTS == "results/default" else f"{RESULTS}/archive"


rule published:
    input:
        expand(f"{RESULTS}/published/{{environment}}/archived", environment=PUBLISHED),


rule train_published:
    input:
        lambda wildcards: sources(
            "metarl.training.train", environment_module(wildcards.environment)
        ),
    output:
        table=f"{RESULTS}/published/{{environment}}/seed_{{seed}}.parquet",
        policy=f"{RESULTS}/published/{{environment}}/seed_{{seed}}.npz",
    log:
        f"{LOGS}/published/{{environment}}/seed_{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/published/{{environment}}/seed_{{seed}}.tsv"
    threads: 2  # as many as a run's shards
    params:
        settings=lambda wildcards: flags(
            vars(PUBLISHED_RUNS[wildcards.environment]) | {"seed": wildcards.seed}
        ),
        interval=KEPT_EVERY,
        checkpoints=f"{RESULTS}/checkpoints",
    message:
        "training with published settings: {wildcards.environment}, seed {wildcards.seed}"
    shell:
        "metarl train {params.settings} --policy-interval {params.interval} --threads {threads}"
        " --output {output.table}"
        " --policy {output.policy} --checkpoints {params.checkpoints} > {log} 2>&1"


rule evaluate_published:
    input:
        lambda wildcards: sources("metarl.evaluation", environment_module(wildcards.environment)),
        policy=f"{RESULTS}/published/{{environment}}/seed_{{seed}}.npz",
    output:
        returns=f"{RESULTS}/published/{{environment}}/seed_{{seed}}_returns.parquet",
        paths=f"{RESULTS}/published/{{environment}}/seed_{{seed}}_paths.parquet",
    log:
        f"{LOGS}/published/{{environment}}/seed_{{seed}}_returns.log",
    threads: 1
    params:
        settings=lambda wildcards: flags(PUBLISHED_EVALUATIONS[wildcards.environment]),
        kept=kept_policies,
    message:
        "evaluation of {wildcards.environment}, seed {wildcards.seed}"
    shell:
        "metarl evaluate --policy {params.kept} {input.policy} {params.settings} --threads {threads}"
        " --output {output.returns} --paths {output.paths} > {log} 2>&1"


rule archive_published:
    input:
        sources("metarl.published"),
        evaluations=lambda wildcards: of_seeds(wildcards, "{seed}_returns.parquet"),
        curves=lambda wildcards: of_seeds(wildcards, "{seed}.parquet"),
        policies=lambda wildcards: of_seeds(wildcards, "{seed}.npz"),
        paths=lambda wildcards: of_seeds(wildcards, "{seed}_paths.parquet")[0],
    output:
        touch(f"{RESULTS}/published/{{environment}}/archived"),
    log:
        f"{LOGS}/published/{{environment}}/archive.log",
    params:
        benchmarks=lambda wildcards: expand(
            f"{BENCHMARKS}/published/{wildcards.environment}/seed_{{seed}}.tsv",
            seed=PUBLISHED[wildcards.environment]["seeds"],
        ),
        returns=lambda wildcards: PUBLISHED[wildcards.environment]["returns"],
        deviations=lambda wildcards: PUBLISHED[wildcards.environment]["deviations"],
        source=lambda wildcards: PUBLISHED[wildcards.environment]["source"],
        folder=KEPT,
    message:
        "archive of {wildcards.environment}"
    shell:
        "metarl archive --evaluations {input.evaluations} --curves {input.curves}"
        " --policies {input.policies} --benchmarks {params.benchmarks} --paths {input.paths}"
        " --published-returns {params.returns} --published-deviations {params.deviations}"
        " --source {params.source:q} --output {params.folder} > {log} 2>&1"
