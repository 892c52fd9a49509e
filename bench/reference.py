"""The reference's own steps on bytes, re-created: md5 in 4 KiB reads, copies with metadata, tarfile extraction."""
import hashlib
import os
import shutil
import sys
import tarfile


def md5(path):
    digest = hashlib.md5()
    with open(path, 'rb') as file:
        for chunk in iter(lambda: file.read(4096), b''):
            digest.update(chunk)
    return digest.hexdigest()


def md5_tree(root):
    count = 0
    for folder, _, names in os.walk(root):
        for name in names:
            md5(os.path.join(folder, name))
            count += 1
    return count


def extract(bundle, target):
    with tarfile.open(bundle) as tar:
        tar.extractall(path=target)


STEPS = {'md5': md5, 'md5-tree': md5_tree, 'copy': shutil.copy2, 'extract': extract}
STEPS[sys.argv[1]](*sys.argv[2:])
