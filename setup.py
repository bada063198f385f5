"""Packaging. Configs, tools and the model index go into `mmmaskdino/.mim`, where OpenMMLab's tools look for them."""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_SOURCES = ('configs', 'tools', 'model-index.yml')
TESTED = ('tests', 'export', 'page', 'photos', 'docs')  # requirement files
# Of the repository; .github/workflows/release.yml knows it. Without it the metadata have no links into the repository.
ADDRESS = os.environ.get('MMMASKDINO_ADDRESS', '').rstrip('/')


class BuildWithMim(build_py):
    """Adds `.mim`: copies in wheels, links into the working tree in editable installs."""

    def run(self) -> None:
        super().run()
        editable = getattr(self, 'editable_mode', False)
        mim = (ROOT if editable else Path(self.build_lib)) / 'mmmaskdino' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in MIM_SOURCES:
            if editable:
                link(ROOT / name, mim / name)
            else:
                copy(ROOT / name, mim / name)


def link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(Path('..', '..', source.name), target_is_directory=source.is_dir())
    except OSError:  # Windows allows links only to privileged users
        copy(source, target)


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
    else:
        shutil.copy(source, target)


def read_version() -> str:
    text = (ROOT / 'mmmaskdino' / 'version.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'$", text, re.MULTILINE).group(1)


def read_readme() -> str:
    """The README, its links to files of the repository made absolute, as a package index wants them."""
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    if not ADDRESS:
        return text
    text = re.sub(r'!\[([^]]*)\]\((?!\w+:)', rf'![\1]({ADDRESS}/raw/v{read_version()}/', text)
    return re.sub(r'(?<!!)\[([^]]*)\]\((?!\w+:|#)', rf'[\1]({ADDRESS}/blob/v{read_version()}/', text)


def project_addresses() -> dict[str, str]:
    found = {'Paper': 'https://arxiv.org/abs/2206.02777'}
    if ADDRESS:
        places = {'Source': '', 'Issues': '/issues', 'Changelog': '/blob/main/CHANGELOG.md'}
        found |= {name: ADDRESS + place for name, place in places.items()}
    return found


def read_requirements(name: str, pattern: str = '') -> list[str]:
    """The lines of a requirement file that begin with the pattern, without comments and other files."""
    lines = (ROOT / 'requirements' / name).read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith(('#', '-r')) and re.match(pattern, line)]


setup(
    name='mmmaskdino',
    version=read_version(),
    description='Mask DINO: object detection, instance, panoptic and semantic segmentation on OpenMMLab',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    author='The mmmaskdino authors',
    license='Apache-2.0',
    license_files=['LICENSE'],
    project_urls=project_addresses(),
    keywords=[
        'Mask DINO',
        'DETR',
        'OpenMMLab',
        'object detection',
        'instance segmentation',
        'panoptic segmentation',
        'semantic segmentation',
    ],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=['mmmaskdino', 'mmmaskdino.*']),
    package_data={'mmmaskdino': ['py.typed']},
    py_modules=['mmmaskdino_cli'],
    entry_points={'console_scripts': ['mmmaskdino = mmmaskdino_cli:main']},
    # mmdet and mmcv come under two names each and cannot be required: mmmaskdino/stack.py checks them at import.
    install_requires=read_requirements('runtime.txt'),
    # torch and mmcv stay outside: they have to be installed first, mmcv with its operators (docs/installation.md).
    extras_require={
        'current': read_requirements('current.txt', 'onedl-(?!mmcv)'),
        'classic': read_requirements('classic.txt', 'mm(?!cv)|ftfy|regex'),
        'export': read_requirements('export.txt'),
        'page': read_requirements('page.txt'),
        'photos': read_requirements('photos.txt'),
        # A few packages each: many images, results as tables or detections, curves of a training, models from a hub.
        'pandas': read_requirements('optional.txt', 'pandas'),
        'parquet': read_requirements('optional.txt', 'pyarrow'),
        'ray': read_requirements('optional.txt', 'ray|pyarrow'),
        'scenes': read_requirements('optional.txt', 'tifffile|imagecodecs'),
        'serve': read_requirements('optional.txt', 'fastapi|uvicorn'),
        'supervision': read_requirements('optional.txt', 'supervision'),
        'tensorboard': read_requirements('optional.txt', 'tensorboard'),
        'wandb': read_requirements('optional.txt', 'wandb'),
        'hub': read_requirements('optional.txt', 'huggingface_hub'),
        'docs': read_requirements('docs.txt'),
        'tests': [line for name in TESTED for line in read_requirements(f'{name}.txt')],
    },
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
