import os
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
PACKAGE = 'econvnext_mmdet'
# MMEngine and MIM look for these in the folder .mim of an installed package.
MIM = ('configs', 'tools', 'model-index.yml')


class BuildWithConfigs(build_py):
    """Adds the configs, the tools and the model index to the package: as links if it is installed with -e."""

    def run(self) -> None:
        package = (ROOT if self.editable_mode else Path(self.build_lib)) / PACKAGE
        # An earlier build may have left modules in the build folder that no longer exist.
        shutil.rmtree(package / '.mim' if self.editable_mode else package, ignore_errors=True)
        super().run()
        folder = package / '.mim'
        folder.mkdir(parents=True)
        for name in MIM:
            source = ROOT / name
            if self.editable_mode:
                (folder / name).symlink_to(os.path.relpath(source, folder))
            elif source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy(source, folder)


version: dict = {}
exec((ROOT / PACKAGE / 'version.py').read_text(), version)

setup(
    name=PACKAGE,
    version=version['__version__'],
    description='E-ConvNeXt (arXiv 2508.20955) as a backbone for MMDetection',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={f'{PACKAGE}.reports': ['templates/*.html']},
    cmdclass=dict(build_py=BuildWithConfigs),
    # torch, torchvision, OpenCV and the OpenMMLab libraries are not named here. Each comes in several distributions:
    # CUDA or CPU builds, headless OpenCV, upstream or OneDL forks. pip would install a second one over the one that is
    # there. requirements/stack.txt pins what runs together.
    install_requires=['faster-coco-eval', 'filelock', 'matplotlib', 'numpy', 'pycocotools', 'rich', 'safetensors'],
    extras_require=dict(
        report=['jinja2'],
        benchmark=['psutil', 'timm'],
        deploy=['nncf', 'onnx', 'onnxscript', 'onnxruntime', 'openvino'],
    ),
)
