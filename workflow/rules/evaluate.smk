# Adaptation of a trained policy to held-out tasks; the policy's file tells its settings and seed.
rule evaluate:
    input:
        lambda wildcards: sources("metarl.evaluation", environment_module(wildcards.environment)),
        policy=f"{RESULTS}/train/{RUN}.npz",
    output:
        f"{RESULTS}/evaluate/{RUN}.parquet",
    log:
        f"{LOGS}/evaluate/{RUN}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/{RUN}.tsv"
    threads: 1
    params:
        settings=flags(config["evaluation"]),
    shell:
        "metarl evaluate --policy {input.policy} {params.settings} --threads {threads}"
        " --output {output} > {log} 2>&1"
