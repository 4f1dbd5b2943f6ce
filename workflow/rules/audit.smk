# Bias and variance of the estimators on problems small enough to enumerate every sample.
rule audit_exact:
    input:
        sources_with(EXACT["estimators"], "metarl.audit.exact"),
    output:
        f"{RESULTS}/audit/exact_{{problem}}.parquet",
    log:
        f"{LOGS}/audit/exact_{{problem}}.log",
    benchmark:
        f"{BENCHMARKS}/audit/exact_{{problem}}.tsv"
    params:
        problems=lambda wildcards: EXACT_JOBS[wildcards.problem],
        estimators=EXACT["estimators"],
        sample_sizes=lambda wildcards: EXACT["problems"][wildcards.problem]["sample_sizes"],
    message:
        "exact audit of {params.problems}"
    shell:
        "metarl audit exact --problem {params.problems} --estimators {params.estimators}"
        " --sample-sizes {params.sample_sizes} --output {output} > {log} 2>&1"


# What they approach as N grows, of all problems: without enumeration.
rule audit_limit:
    input:
        sources_with(EXACT["estimators"], "metarl.audit.limit"),
    output:
        LIMIT_TABLE,
    log:
        f"{LOGS}/audit/limit.log",
    benchmark:
        f"{BENCHMARKS}/audit/limit.tsv"
    params:
        problems=list(EXACT["problems"]),
        estimators=EXACT["estimators"],
    message:
        "limits of large N"
    shell:
        "metarl audit limit --problem {params.problems} --estimators {params.estimators}"
        " --output {output} > {log} 2>&1"


# The same with sampled inner batches, on random processes too large to enumerate: one job, since they
# share what is compiled for an N.
rule audit_monte_carlo:
    input:
        sources_with(MONTE_CARLO["estimators"], "metarl.audit.monte_carlo"),
    output:
        f"{RESULTS}/audit/monte_carlo.parquet",
    log:
        f"{LOGS}/audit/monte_carlo.log",
    benchmark:
        f"{BENCHMARKS}/audit/monte_carlo.tsv"
    params:
        settings=flags(MONTE_CARLO | {"confidence": CONFIDENCE, "seed": BASE_SEED}),
        checkpoints=f"{RESULTS}/checkpoints",
    message:
        "Monte Carlo audit on random processes"
    shell:
        "metarl audit monte-carlo {params.settings}"
        " --checkpoints {params.checkpoints} --output {output} > {log} 2>&1"


# Where the audited run starts, by its first iteration: nobody waits for the others.
rule initial_policy:
    input:
        lambda wildcards: sources_with(
            [TRAINING[wildcards.environment, MUJOCO["algorithm"]].estimator],
            "metarl.training.train",
            environment_module(wildcards.environment),
        ),
    output:
        policy=f"{RESULTS}/start/{{environment}}.npz",
        table=f"{RESULTS}/start/{{environment}}.parquet",
    log:
        f"{LOGS}/start/{{environment}}.log",
    threads: 1
    params:
        settings=lambda wildcards: flags(
            vars(TRAINING[wildcards.environment, MUJOCO["algorithm"]])
            | {"iterations": 1, "seed": AUDITED_SEED}
        ),
        checkpoints=f"{RESULTS}/checkpoints",
    message:
        "initial policy of {wildcards.environment}"
    shell:
        "metarl train {params.settings} --threads {threads} --output {output.table}"
        " --policy {output.policy} --checkpoints {params.checkpoints} > {log} 2>&1"


# The same with simulated batches, at the first or the last policy of a training run: rates of the
# variance, and the bias, against a reference that simulates more.
rule audit_mujoco:
    input:
        lambda wildcards: sources_with(
            configuration.simulated_audit(config, wildcards.environment, wildcards.part)[
                "estimators"
            ],
            "metarl.audit.mujoco",
            environment_module(wildcards.environment),
        ),
        policy=lambda wildcards: (
            f"{RESULTS}/start/{wildcards.environment}.npz"
            if wildcards.point == "initial"
            else f"{RESULTS}/train/{wildcards.environment}/{MUJOCO['algorithm']}/seed_{AUDITED_SEED}.npz"
        ),
    output:
        f"{RESULTS}/audit/mujoco_{{environment}}_{{point}}_{{part}}.parquet",
    log:
        f"{LOGS}/audit/mujoco_{{environment}}_{{point}}_{{part}}.log",
    benchmark:
        f"{BENCHMARKS}/audit/mujoco_{{environment}}_{{point}}_{{part}}.tsv"
    threads: 1
    params:
        settings=lambda wildcards: flags(
            configuration.simulated_audit(config, wildcards.environment, wildcards.part)
            | {"confidence": CONFIDENCE, "seed": BASE_SEED}
        ),
        checkpoints=f"{RESULTS}/checkpoints",
    message:
        "audit in simulation: {wildcards.part} on {wildcards.environment}, {wildcards.point} policy"
    shell:
        "metarl audit mujoco --policy {input.policy} --point {wildcards.point} {params.settings}"
        " --checkpoints {params.checkpoints} --threads {threads} --output {output} > {log} 2>&1"


# Plain SGD on finite problems: iterations to a stationary point against N.
rule converge:
    input:
        sources_with(CONVERGENCE["estimators"], "metarl.convergence"),
    output:
        f"{RESULTS}/convergence/{{problem}}.parquet",
    log:
        f"{LOGS}/convergence/{{problem}}.log",
    benchmark:
        f"{BENCHMARKS}/convergence/{{problem}}.tsv"
    params:
        settings=lambda wildcards: flags(
            CONVERGENCE | CONVERGENCE["problems"][wildcards.problem] | {"seed": BASE_SEED},
            omit=["problems"],
        ),
    message:
        "convergence of SGD on {wildcards.problem}"
    shell:
        "metarl convergence --problem {wildcards.problem} {params.settings}"
        " --output {output} > {log} 2>&1"
