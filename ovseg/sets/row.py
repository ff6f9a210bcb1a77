"""A data set as a row of a table. Nothing heavy is imported here: ``ovseg list`` reads the table."""
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

TABLE = 'TableDataset'  # the class of rows that have none of their own

Colour = Tuple[int, int, int]


@dataclass(frozen=True)
class Conversion:
    """Making of a row's files out of its archive by ``ovseg convert sets``.

    Args:
        images: Path of the images in the archive, with wildcards: ``'*/Images/*.png'``.
        masks: Path of the mask of an image, whose ``*`` stand for what those of ``images`` matched, in order.
        other_masks: The same where the archive has no file in ``masks``: another form in which it is published.
        name: Name of the result without ending; ``{0}``, ``{1}``, ... are what the wildcards matched.
        only: Names of the images that are taken, as the last wildcard matches them; all by default.
        only_in: File in the archive that lists these names, one a line, with or without ending.
        partial: The archive lacks some of the images that are listed.
        values: Label of each value of grey masks; by default, the values are the labels.
        colours: Label of each colour of RGB masks.
        nearest: The nearest of ``values`` or ``colours`` is taken, as masks need that were compressed or smoothed.
        patch: Height and width of the patches that images are cut into; whole images by default.
        overlap: Pixels that neighbouring patches share.
        pad: The last patch of a row or column begins where its predecessor ends and is filled up, images with 0 and labels
            with 255; by default it is moved back into the image. Images smaller than a patch are filled up in both cases.
        patch_name: Text added to the name of a patch; ``{top}``, ``{bottom}``, ``{left}``, ``{right}``, and ``{index}``, its
            number row by row.
    """

    images: str
    masks: str
    other_masks: str = ''
    name: str = '{0}'
    only: Tuple[str, ...] = ()
    only_in: str = ''
    partial: bool = False
    values: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[Colour, int] = field(default_factory=dict)
    nearest: bool = False
    patch: Optional[Tuple[int, int]] = None
    overlap: int = 0
    pad: bool = False
    patch_name: str = '_{left}_{top}_{right}_{bottom}'


@dataclass(frozen=True)
class Row:
    """A data set: its files, its classes, where to get it, and the protocol that it is evaluated by.

    In texts, ``{root}`` stands for its folder, ``{data}`` for that folder's, ``{tools}`` for ovseg's tools and ``{mmseg}`` for
    mmseg's converters.

    Args:
        name: Name of its base config.
        title: Name in tables.
        folder: Its folder below ``DATA_ROOT``.
        img_path: Folder of the images in it.
        seg_map_path: Folder of the label files in it.
        page: Where it is published.
        source: What to download, and where to unpack it.
        images: How many images the published evaluation set has; 0 if unknown.
        licence: As stated by its authors; empty if that is not verified.
        type: Its data set class.
        ann_file: List of the images in its folder; all by default.
        img_suffix: Ending of the images; that of the class by default.
        seg_map_suffix: Ending of the label files; that of the class by default.
        reduce_zero_label: Label 0 is not scored, and label k is class k - 1.
        labelled_only: Images without a label file do not belong to it: the folder of the images has those of other splits.
        classes: Bundled class list with the names of its classes; that of its own name by default.
        palette: Colour of each class; PASCAL VOC's by default.
        convert: What makes its label files of the download, step by step; empty where they are in it.
        conversion: How ``ovseg convert sets`` does that; None where it does not.
        lookalikes: Label files of other kinds that get into its folder: ``(name, highest value that is not ignored)``.
        words: Bundled class list of its protocol; that of the classes by default.
        decoder: Settings of ``model.decoder`` in its protocol.
        domain: Its domain in MESS.
    """

    name: str
    title: str
    folder: str
    img_path: str
    seg_map_path: str
    page: str
    source: str
    images: int = 0
    licence: str = ''
    type: str = TABLE
    ann_file: str = ''
    img_suffix: str = ''
    seg_map_suffix: str = ''
    reduce_zero_label: bool = False
    labelled_only: bool = False
    classes: str = ''
    palette: Tuple[Colour, ...] = ()
    convert: Tuple[str, ...] = ()
    conversion: Optional[Conversion] = None
    lookalikes: Tuple[Tuple[str, int], ...] = ()
    words: str = ''
    decoder: Mapping[str, Any] = field(default_factory=dict)
    domain: str = ''

    @property
    def class_list(self) -> str:
        """The bundled class list with the names of its classes."""
        return self.classes or self.name

    @property
    def class_lists(self) -> Tuple[str, str]:
        """The bundled class lists with the names of its classes and with those of its protocol."""
        return self.class_list, self.words or self.class_list

    @property
    def protocol(self) -> Dict[str, Any]:
        """Settings of a model in its protocol, beside those of a method."""
        return dict(vocabulary=dict(names=self.class_lists[1]), decoder=dict(self.decoder))

    @property
    def root(self) -> Path:
        """Its folder on this machine."""
        return Path(os.environ.get('DATA_ROOT') or 'data', self.folder)

    @property
    def missing(self) -> Tuple[Path, ...]:
        """The folders and the list of images that are not on this machine; files in them are not looked for."""
        paths = [self.root / part for part in (self.img_path, self.seg_map_path, self.ann_file) if part]
        return tuple(path for path in paths if not path.exists())

    def dataset(self) -> Dict[str, Any]:
        """Its config as a data set, without a pipeline."""
        cfg: Dict[str, Any] = dict(type=self.type, data_root=str(self.root),
                                   data_prefix=dict(img_path=self.img_path, seg_map_path=self.seg_map_path))
        if self.type == TABLE:
            cfg['name'] = self.name
        for key in ('ann_file', 'img_suffix', 'seg_map_suffix', 'reduce_zero_label'):
            if getattr(self, key):
                cfg[key] = getattr(self, key)
        return cfg
