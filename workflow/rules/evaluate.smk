# Adaptation of trained policies to held-out tasks, all seeds of a configuration in one job; a policy's
# file tells its settings and seed.
rule evaluate:
    input:
        lambda wildcards: sources("metarl.evaluation", environment_module(wildcards.environment)),
        policies=lambda wildcards: expand(
            f"{RESULTS}/train/{RUN}.npz",
            environment=wildcards.environment,
            algorithm=wildcards.algorithm,
            seed=SEEDS[wildcards.environment],
        ),
    output:
        f"{RESULTS}/evaluate/{{environment}}/{{algorithm}}.parquet",
    log:
        f"{LOGS}/evaluate/{{environment}}/{{algorithm}}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/{{environment}}/{{algorithm}}.tsv"
    threads: 1
    params:
        settings=flags(config["evaluation"]),
    message:
        "evaluation of {wildcards.algorithm} on {wildcards.environment}"
    shell:
        "metarl evaluate --policy {input.policies} {params.settings} --threads {threads}"
        " --output {output} > {log} 2>&1"
