"""Maps the folders at the root into the one package; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = ("schemas", "producers", "processors", "evaluators", "rollout", "console", "embedded")

package_dir = {"shadowlane": "src/shadowlane"} | {f"shadowlane.{name}": name for name in FOLDERS}
packages = find_packages("src", exclude=[f"shadowlane.{name}*" for name in FOLDERS])
packages += [
    f"shadowlane.{package}"
    for name in FOLDERS
    for package in [name, *(f"{name}.{sub}" for sub in find_packages(name))]
]
setup(packages=packages, package_dir=package_dir)
