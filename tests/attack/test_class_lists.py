"""Class lists of any text: either classes whose names can be seen and told apart, or one line that says what is wrong."""
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovseg.vocabulary import read_class_list

NASTY = ('\0\t\n\r\x0b\x1b\x85\xad\u034f\u061c\u200b\u200d\u202e\u2028\u2060\u3000\u3164\ud800\ufeff'
         '，；、#,; .-_"\'\\/{}%木é🐈aA1')
TEXTS = st.text(st.sampled_from(NASTY) | st.characters(), max_size=40)
SEPARATED = st.lists(st.sampled_from(['cat', 'dog', 'Größe', '木', ' ', '', '# x', 'C#', '，']), max_size=9).flatmap(
    lambda words: st.sampled_from(['\n', '\r\n', '\r', ',', ';']).map(lambda between: between.join(words)))
EXPECTED = re.compile(r'has no classes|has an empty name|has the character U\+|synonyms are separated by|have no comments|'
                      r'without a letter|stands twice|is not UTF-8')


def check(given, where):
    """Names that can be seen and told apart, or one line that names ``where``."""
    try:
        classes = read_class_list(given)
    except ValueError as error:
        message = str(error)
        assert message.isprintable() and EXPECTED.search(message) and where in message and len(message) < 1500, message
        return
    names = [name for synonyms in classes for name in synonyms]
    assert classes and all(classes)
    for name in names:
        assert name == ' '.join(name.split()) and not {',', ';', '#'} & {name[0]} and any(map(str.isprintable, name))
        assert any(unicodedata.category(letter)[0] in 'LNS' for letter in name)
        assert not [letter for letter in name if unicodedata.category(letter) in ('Cc', 'Cf', 'Cs')]
    assert len({unicodedata.normalize('NFC', name).casefold() for name in names}) == len(names)


def test_a_file_of_any_text(attack, tmp_path):
    path = tmp_path / 'words.txt'

    @attack.examples(100, 6000)
    @given(TEXTS | SEPARATED)
    def run(text):
        path.write_bytes(text.encode('utf-8', 'surrogatepass'))
        check(path, str(path))
        attack.cases += 1
    run()


def test_a_list_of_any_strings(attack):
    @attack.examples(100, 6000)
    @given(st.lists(TEXTS | SEPARATED, max_size=5))
    def run(lines):
        check(lines, 'the class list')
        attack.cases += 1
    run()


def test_a_file_of_any_bytes(attack, tmp_path):
    path = tmp_path / 'words.txt'

    @attack.examples(50, 2000)
    @given(st.binary(max_size=60))
    def run(content):
        path.write_bytes(content)
        check(path, str(path))
        attack.cases += 1
    run()


@pytest.mark.attack
def test_a_list_of_the_largest_file(tmp_path, attack):
    path = tmp_path / 'words.txt'
    path.write_text('\n'.join(f'a{index:07d}' for index in range(2 ** 24 // 9)))
    assert len(read_class_list(path)) == 2 ** 24 // 9
    with path.open('a') as file:
        file.write('\n' * 20)
    with pytest.raises(ValueError, match='is larger than 16777216 bytes'):
        read_class_list(path)
    attack.cases += 2
