# One meta-training run. Checkpoints lie outside the outputs: an interrupted run's outputs are
# deleted, and the next attempt resumes from what metarl finds there for the same settings and code.
rule train:
    input:
        lambda wildcards: sources("metarl.training.train", environment_module(wildcards.environment)),
    output:
        table=f"{RESULTS}/train/{RUN}.parquet",
        policy=f"{RESULTS}/train/{RUN}.npz",
    log:
        f"{LOGS}/train/{RUN}.log",
    benchmark:
        f"{BENCHMARKS}/train/{RUN}.tsv"
    threads: 1  # runs outnumber cores: one each keeps all cores busy
    params:
        estimator=lambda wildcards: run_algorithm(wildcards)["estimator"],
        settings=lambda wildcards: flags(run_settings(wildcards)),
        checkpoints=f"{RESULTS}/checkpoints",
        tensorboard=f"{RESULTS}/tensorboard/{RUN}",
    shell:
        "metarl train --algorithm {wildcards.algorithm} --estimator {params.estimator}"
        " --environment {wildcards.environment} --seed {wildcards.seed} {params.settings}"
        " --threads {threads} --output {output.table} --policy {output.policy}"
        " --checkpoints {params.checkpoints} --tensorboard {params.tensorboard} > {log} 2>&1"
