import os
import re
from collections import Counter
from pathlib import Path

import pytest
from mmseg.registry import DATASETS

from ovseg.vocabulary import bundled_class_lists, read_class_list
from ovseg.vocabulary.class_lists import CLASS_LISTS, letters, vocabulary_name, warn_of_one_class

VOC, CONTEXT60, CONTEXT59, COCO_STUFF, CITYSCAPES, ADE20K = (
    [name.strip() for name in DATASETS.get(dataset).METAINFO['classes']]  # ADE20K has 'bed '
    for dataset in ('PascalVOCDataset', 'PascalContextDataset', 'PascalContextDataset59', 'COCOStuffDataset',
                    'CityscapesDataset', 'ADE20KDataset'))
METAINFO = dict(voc21=VOC, voc20=VOC[1:], context60=CONTEXT60, context59=CONTEXT59, coco_stuff=COCO_STUFF, ade20k=ADE20K,
                coco_object=['background', *COCO_STUFF[:80]], cityscapes=CITYSCAPES)
WORDS = {'diningtable': 'dining table', 'playingfield': 'playing field', 'pottedplant': 'potted plant',
         'tvmonitor': 'tv monitor'}

# the published experiments' own words
BACKGROUND = ['sky', 'wall', 'tree', 'wood', 'grass', 'road', 'sea', 'river', 'mountain', 'sands', 'desk', 'bed', 'building',
              'cloud', 'lamp', 'door', 'window', 'wardrobe', 'ceiling', 'shelf', 'curtain', 'stair', 'floor', 'hill', 'rail',
              'fence']
PERSON = ['person', 'person in shirt', 'person in jeans', 'person in dress', 'person in sweater', 'person in skirt',
          'person in jacket']
VOC_SCLIP = [['aeroplane'], ['bicycle'], ['bird'], ['ship'], ['bottle'], ['bus'], ['car'], ['cat'], ['chair'], ['cow'],
             ['table'], ['dog'], ['horse'], ['motorbike'], PERSON, ['pottedplant'], ['sheep'], ['sofa'], ['train'],
             ['television monitor', 'tv monitor', 'monitor', 'television', 'screen']]
VOC_CLEARCLIP = [['aeroplane'], ['bicycle'], ['bird'], ['ship'], ['bottle'], ['bus'], ['car'], ['cat'], ['chair'], ['cow'],
                 ['table'], ['dog'], ['horse'], ['motorbike'], ['person'], ['pottedplant'], ['sheep'], ['sofa'], ['train'],
                 ['tvmonitor']]
WRITTEN_TOGETHER = dict(
    ade20k_sclip={'chestofdrawers', 'pooltable', 'screendoor', 'coffeetable', 'kitchenisland', 'swivelchair',
                  'arcademachine', 'televisionreceiver', 'dirttrack', 'conveyerbelt', 'swimmingpool', 'tradename',
                  'trafficlight', 'crtscreen', 'bulletinboard'},
    coco_stuff_sclip={'trafficlight', 'firehydrant', 'stopsign', 'parkingmeter', 'sportsball', 'baseballbat',
                      'baseballglove', 'tennisracket', 'wineglass', 'hotdog', 'pottedplant', 'diningtable', 'cellphone',
                      'teddybear', 'hairdrier'},
    cityscapes_sclip={'trafficlight', 'trafficsign'})


@pytest.mark.parametrize('name', sorted(path.stem for path in CLASS_LISTS.glob('*.txt')))
def test_every_bundled_list_is_offered_and_reads_as_its_file(name):
    assert name in bundled_class_lists()
    lines = (CLASS_LISTS / f'{name}.txt').read_text(encoding='utf-8').split('\n')
    expected = [[part.strip() for part in line.replace(';', ',').split(',')] for line in lines if line]
    assert read_class_list(name) == expected


@pytest.mark.parametrize('name', sorted(METAINFO))
def test_a_default_list_has_the_data_sets_names_spelled_as_words(name):
    assert read_class_list(name) == [[WORDS.get(word, word)] for word in METAINFO[name]]


@pytest.mark.parametrize('name', sorted(METAINFO))
def test_no_list_differs_from_its_data_set_in_letters_or_order(name):
    assert [re.sub('[^a-z]', '', first) for first, in read_class_list(name)] == \
           [re.sub('[^a-z]', '', word.lower()) for word in METAINFO[name]]


def test_the_published_voc_lists():
    assert read_class_list('voc20_sclip') == VOC_SCLIP
    assert read_class_list('voc21_sclip') == [BACKGROUND, *VOC_SCLIP]
    assert read_class_list('voc20_clearclip') == VOC_CLEARCLIP
    assert read_class_list('voc21_clearclip') == [['background'], *VOC_CLEARCLIP]


def test_the_lists_of_proxyclip_have_no_synonyms_but_for_the_background():
    assert read_class_list('voc21_proxyclip') == [BACKGROUND, *VOC_CLEARCLIP]
    background = BACKGROUND[:14] + BACKGROUND[-4:-1]
    assert read_class_list('coco_object_proxyclip') == [background, *([name] for name in COCO_STUFF[:80])]


@pytest.mark.parametrize(('name', 'other'), [
    ('voc21', 'voc21_proxyclip'), ('voc20', 'voc20_clearclip'), ('context60', 'context60_sclip'),
    ('context59', 'context59_sclip'), ('coco_object', 'coco_object_proxyclip'), ('coco_stuff', 'coco_stuff_sclip'),
    ('cityscapes', 'cityscapes_sclip'), ('ade20k', 'ade20k_sclip')])
def test_the_lists_of_corrclip_have_people_for_person(name, other):
    expected = [['people'] if names == ['person'] else names for names in read_class_list(other)]
    if name == 'coco_object':
        expected[0].remove('bed')  # which is another class
    assert read_class_list(f'{name}_corrclip') == expected


def test_the_published_coco_object_list():
    assert read_class_list('coco_object_sclip') == [BACKGROUND, [*PERSON, 'body'], *([name] for name in COCO_STUFF[1:80])]


def test_the_lists_of_lposs():
    voc = [word if word == 'tvmonitor' else WORDS.get(word, word) for word in VOC[1:]]
    assert read_class_list('voc21_lposs') == [BACKGROUND, *([word] for word in voc)]
    background = [word for word in BACKGROUND if word not in (
        'lamp', 'door', 'window', 'wardrobe', 'ceiling', 'shelf', 'curtain', 'stair', 'fence')]
    names = ['aeroplane' if word == 'airplane' else word for word in COCO_STUFF[:80]]
    assert len(background) == 17 and read_class_list('coco_object_lposs') == [background, *([name] for name in names)]


@pytest.mark.parametrize(('name', 'words'), [('context60', CONTEXT60), ('context59', CONTEXT59)])
def test_the_published_context_lists_are_the_data_sets_names_to_the_letter(name, words):
    assert read_class_list(f'{name}_sclip') == [[word] for word in words]


@pytest.mark.parametrize('name', sorted(WRITTEN_TOGETHER))
def test_published_lists_that_write_names_together(name):
    words = METAINFO[name[:-len('_sclip')]]
    published = [first for first, in read_class_list(name)]
    assert [word.replace(' ', '') for word in words] == published
    assert set(published) - set(words) == WRITTEN_TOGETHER[name]


def test_ade20k_847_has_all_names_of_the_150():
    names = read_class_list('ade20k_847')
    assert len(names) == 847
    assert names[0] == ['wall']
    assert names[78] == ['streetlight', 'street lamp']
    assert names[423] == ['wheel']
    assert names[846] == ['adding machine', 'totalizer', 'totaliser']
    assert set(ADE20K) <= {name for synonyms in names for name in synonyms}


def test_names_that_ade20k_847_gives_several_classes_are_kept_by_one():
    names = read_class_list('ade20k_847')
    assert [names[index] for index in (114, 191, 252)] == [
        ['bag'], ['traveling bag', 'travelling bag', 'grip', 'suitcase'], ['handbag', 'pocketbook', 'purse']]
    assert [names[index] for index in (51, 57, 147, 153)] == [
        ['blind'], ['screen door'], ['screen', 'crt screen'], ['silver screen', 'projection screen']]
    assert [names[index] for index in (130, 188)] == [['flowerpot'], ['pot']]
    assert names[768] == ['control board']


def test_context459_has_all_names_of_the_59():
    names = [first for first, in read_class_list('context459')]
    assert len(names) == 459
    assert names[0] == 'accordion'
    assert names[458] == 'wool'
    assert names == sorted(names)
    assert {first for first, in read_class_list('context59')} <= set(names)


def test_bundled_lists_repeat_a_name_as_their_experiments_did(tmp_path):
    counts = Counter((bundled, name.casefold()) for bundled in bundled_class_lists()
                     for synonyms in read_class_list(bundled) for name in synonyms)
    assert [key for key, count in counts.items() if count > 1] == [
        ('coco_object_lposs', 'bed'), ('coco_object_proxyclip', 'bed'), ('coco_object_sclip', 'bed')]
    copy = tmp_path / 'coco_object_sclip.txt'
    copy.write_bytes((CLASS_LISTS / 'coco_object_sclip.txt').read_bytes())
    with pytest.raises(ValueError, match="'bed' stands twice"):
        read_class_list(copy)


@pytest.mark.parametrize(('given', 'name'), [
    ('voc21_sclip', 'voc21_sclip'), ('lists/mine.txt', 'lists/mine.txt'), (Path('lists/mine.txt'), str(Path('lists/mine.txt'))),
    (['cat', 'dog, puppy', 'sky'], 'custom'), (('cat', 'dog'), 'custom'),
])
def test_a_result_names_its_list(given, name):
    assert vocabulary_name(given) == name


def test_demo_scenes_is_bundled():
    assert 'demo_scenes' in bundled_class_lists()
    assert read_class_list('demo_scenes')[8] == ['zebra']


def test_synonyms_in_a_list_of_strings():
    assert read_class_list(['cat', 'dog,  puppy', ' sea; ocean ;lake', 'tv\t monitor,screen;tv']) == [
        ['cat'], ['dog', 'puppy'], ['sea', 'ocean', 'lake'], ['tv monitor', 'screen', 'tv']]


def test_a_tuple_serves_as_a_list():
    assert read_class_list(('cat', 'dog')) == [['cat'], ['dog']]


@pytest.mark.parametrize('content', [
    'cat\ndog, puppy\n', 'cat\r\ndog, puppy\r\n', '\ufeffcat\ndog, puppy', 'cat\ndog, puppy\n\n \n',
], ids=['newlines', 'Windows newlines', 'byte order mark, no last newline', 'blank lines at the end'])
@pytest.mark.parametrize('kind', [str, Path])
def test_a_text_file(tmp_path, content, kind):
    path = tmp_path / 'classes.txt'
    path.write_bytes(content.encode())
    assert read_class_list(kind(path)) == [['cat'], ['dog', 'puppy']]


def test_names_are_read_as_utf8(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_bytes('façade\n木\n'.encode())
    assert read_class_list(path) == [['façade'], ['木']]


def test_an_unknown_list_names_the_bundled_ones_and_the_path_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        read_class_list('demo_scene')
    assert "'demo_scene'" in str(error.value)
    assert str(tmp_path / 'demo_scene') in str(error.value)
    for name in bundled_class_lists():
        assert name in str(error.value)


def test_a_folder_is_no_class_list(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        read_class_list(tmp_path)


@pytest.mark.parametrize(('classes', 'message'), [
    ([], 'the class list has no classes'),
    (['cat', ''], 'class 1 of the class list has an empty name'),
    (['cat', 'dog, ,puppy'], "class 1 of the class list has an empty name.*dog, , puppy"),
    (['cat', 'dog', 'cat'], "'cat' stands twice.*class 0 and in class 2"),
    (['cat', 'dog, cat'], "'cat' stands twice.*class 0 and in class 1"),
    (['sofa bed', 'Sofa  bed'], "'Sofa bed' stands twice.*class 0 and in class 1"),
    (['cat', 'dog, dog'], "'dog' stands twice.*class 1 and in class 1"),
    (['cat', 7], 'class 1 of the class list is 7; a class is a string'),
    (['cat', ['dog', 'puppy']], r"class 1 of the class list is \['dog', 'puppy'\]"),
])
def test_bad_lists_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        read_class_list(classes)


@pytest.mark.parametrize(('content', 'message'), [('', 'has no classes'), ('\n\n', 'has no classes'),
                                                  ('cat\n\ndog\n', 'class 1 of .* has an empty name'),
                                                  ('cat\ndog\ncat\n', 'stands twice')])
def test_bad_files_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / 'classes.txt'
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_class_list(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(('line', 'message'), [
    ('do\0g', r"has the character U\+0000, which cannot be seen in a name: 'do\\x00g'$"),
    ('do\u200bg', r'has the character U\+200B ZERO WIDTH SPACE, which'), ('do\u200dg', r'U\+200D ZERO WIDTH JOINER'),
    ('\u202egod', r'U\+202E RIGHT-TO-LEFT OVERRIDE'), ('do\xadg', r'U\+00AD SOFT HYPHEN'), ('do\x1b[31mg', r'U\+001B'),
    ('do\x0bg', r'U\+000B'), ('do\u2028g', r'U\+2028 LINE SEPARATOR'), ('\u3164', r'U\+3164 HANGUL FILLER'),
    ('do\ufeffg', r'U\+FEFF'), ('do\udcffg', r'U\+DCFF'),
    ('dog，puppy', r"has '，' \(U\+FF0C FULLWIDTH COMMA\); synonyms are separated by , or ;"),
    ('dog；puppy', r'U\+FF1B FULLWIDTH SEMICOLON'), ('dog、puppy', r'U\+3001 IDEOGRAPHIC COMMA'),
    ('dog، x', r'U\+060C ARABIC COMMA'),
    ('# animals', "has a #, and class lists have no comments: '# animals'$"), ('dog  # mine', 'has a #, and class lists'),
    ('#', 'has a #'), ('dog,#2', 'has a #'), ('dog;# x', 'has a #'),
    ('dog, ...', r"has a name without a letter, digit or symbol: '\.\.\.'$"), ('-', "symbol: '-'"),
    ('dog, \u0301', 'without a letter')])
def test_what_cannot_be_seen_or_is_no_name_is_refused_with_its_line(line, message, tmp_path):
    path = tmp_path / 'words.txt'
    if '\udcff' not in line:
        path.write_text(f'cat\n{line}\nbird\n', encoding='utf-8')
        with pytest.raises(ValueError, match=rf'^class 1 of class list {path}( \(line 2\))? .*{message}') as caught:
            read_class_list(path)
        assert str(caught.value).isprintable()
    with pytest.raises(ValueError, match=rf'^class 1 of the class list .*{message}'):
        read_class_list(['cat', line])


@pytest.mark.parametrize('name', ['C#', 'F-16', '24/7', '$', '🐈', '🐈\ufe0f', 'façade', '木', 'किताब', "driver's seat",
                                  'a\xa0b', '£5', '½'])
def test_names_that_can_be_seen_are_taken(name):
    assert read_class_list(['cat', f'  {name}\t']) == [['cat'], [' '.join(name.split())]]


def test_composed_and_decomposed_letters_are_one_name():
    with pytest.raises(ValueError, match='stands twice'):
        read_class_list(['caf\u00e9', 'cafe\u0301'])


def test_the_end_of_a_line_is_no_part_of_a_name(tmp_path):
    assert read_class_list(['cat\n', 'dog\r\n']) == [['cat'], ['dog']]
    (tmp_path / 'a.txt').write_bytes(b'cat\rdog\r')
    assert read_class_list(tmp_path / 'a.txt') == [['cat'], ['dog']]
    with pytest.raises(ValueError, match=r'U\+000A'):
        read_class_list(['cat\ndog'])


def test_a_vocabulary_of_one_class_is_warned_of(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('ovseg.vocabulary.class_lists.print_log', lambda message, *args: said.append(message))
    for given in (tmp_path / 'hostname', ['sky; cloud']):
        (tmp_path / 'hostname').write_text('machine-7\n')
        warn_of_one_class(given, read_class_list(given))
    warn_of_one_class('voc20', read_class_list('voc20'))
    assert said == [f"vocabulary.names={tmp_path / 'hostname'} has one class only, 'machine-7': every pixel will be labelled "
                    'with it', "the class list has one class only, 'sky, cloud': every pixel will be labelled with it"]


@pytest.mark.parametrize('path', ['/dev/zero', 'folder', 'pipe', 'nul\0', 'x' * 9999])
def test_what_is_no_file_is_refused_at_once(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo('pipe')
    os.mkdir('folder')
    with pytest.raises(FileNotFoundError, match='is neither a bundled class list'):
        read_class_list(path)


def test_a_huge_file_is_refused_at_once(tmp_path):
    with (tmp_path / 'words.txt').open('wb') as file:
        file.truncate(2 ** 31)  # takes no space
    with pytest.raises(ValueError, match=r'words\.txt is larger than 16777216 bytes'):
        read_class_list(tmp_path / 'words.txt')


def test_spellings_of_a_name_have_the_same_letters():
    assert letters('Potted-plant 2 ') == letters('pottedplant2') == 'pottedplant2'
    assert letters('Straße') == letters('STRASSE') and letters('!') == ''
