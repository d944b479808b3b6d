from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = {}
exec((here / 'econvnext_mmdet' / 'version.py').read_text(), version)

setup(
    name='econvnext_mmdet',
    version=version['__version__'],
    description='E-ConvNeXt (arXiv 2508.20955) as a backbone for MMDetection',
    long_description=(here / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.8',
    packages=find_packages(include=['econvnext_mmdet', 'econvnext_mmdet.*']),
    package_data={'econvnext_mmdet.evaluation': ['templates/*.html']},
    # torch and the OpenMMLab libraries are not named here: their forks have other distribution names, so pip
    # would install the originals over them. requirements/stack.txt pins what runs together.
    install_requires=['faster-coco-eval', 'pycocotools', 'safetensors'],
)
