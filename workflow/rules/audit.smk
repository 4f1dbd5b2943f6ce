# Bias and variance of the estimators on problems small enough to enumerate every sample.
rule audit:
    input:
        sources("metarl.audit.exact"),
    output:
        f"{RESULTS}/audit/exact_{{problem}}.parquet",
    log:
        f"{LOGS}/audit/exact_{{problem}}.log",
    benchmark:
        f"{BENCHMARKS}/audit/exact_{{problem}}.tsv"
    params:
        estimators=EXACT["estimators"],
        sample_sizes=lambda wildcards: EXACT["problems"][wildcards.problem]["sample_sizes"],
    shell:
        "metarl audit exact --problem {wildcards.problem} --estimators {params.estimators}"
        " --sample-sizes {params.sample_sizes} --output {output} > {log} 2>&1"
