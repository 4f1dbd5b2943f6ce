# Runs with published settings. They take core-hours, so `all` does not make them: it draws and judges
# what is kept of them in ARCHIVE, which no rule claims as output. `published` keeps them there at the
# default scale, `comparison` at that of config/promp.yaml, and both below the results elsewhere.
KEPT, COMPARISON = (
    ARCHIVE if AT_HOME and RESULTS == results else f"{RESULTS}/archive"
    for results in ("results/default", "results/promp")
)


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


# Of all algorithms of this scale, as train.smk makes them.
rule comparison:
    input:
        expand(f"{RESULTS}/comparison/{{environment}}/archived", environment=config["comparison"]),


rule archive_comparison:
    input:
        sources("metarl.published"),
        curves=lambda wildcards: compared_runs(wildcards, "parquet"),
        policies=lambda wildcards: compared_runs(wildcards, "npz"),
    output:
        touch(f"{RESULTS}/comparison/{{environment}}/archived"),
    log:
        f"{LOGS}/comparison/{{environment}}/archive.log",
    params:
        benchmarks=lambda wildcards: expand(
            f"{BENCHMARKS}/train/{wildcards.environment}/{{algorithm}}.tsv",
            algorithm=config["algorithms"],
        ),
        source="Rothfuss et al. 2019, figure 2; jonasrothfuss/ProMP",
        folder=COMPARISON,
    message:
        "archive of the comparison on {wildcards.environment}"
    shell:
        "metarl archive --curves {input.curves} --policies {input.policies}"
        " --benchmarks {params.benchmarks} --source {params.source:q} --output {params.folder}"
        " > {log} 2>&1"
