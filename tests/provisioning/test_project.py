"""A project in people's words, and the file that FLARE reads."""

from pathlib import Path

import pytest
import yaml

from fedefm.errors import ProvisionError
from provisioning.making import make_project
from provisioning.names import hospital, site_problems
from provisioning.project import Project, project
from provisioning.project_edit import read_project
from provisioning.project_text import project_text, site_text
from provisioning.site_text import site_text as kit_site_text


def hearts(**changed: object) -> Project:
    words: dict[str, object] = {
        "name": "hearts",
        "server": "hub.uni.org",
        "port": 8002,
        "sites": ["St. Mary's Hospital A", "hosp-B"],
        "leads": ["ann@uni.org"],
        "officers": ["omar@uni.org"],
        "admins": ["ida@uni.org"],
        "days": 100,
    }
    return project(**{**words, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("St. Mary's Hospital A", "St-Marys-Hospital-A"),
        ("St. Mary’s Hospital", "St-Marys-Hospital"),
        ("Klinikum München Süd", "Klinikum-Munchen-Sud"),
        ("Charité", "Charite"),
        ("St.Gallen", "St-Gallen"),
        ("hosp.a", "hosp-a"),
        ("Großhadern", "Grosshadern"),
        ("Łódź", "Lodz"),
        ("Rigshospitalet Ærø", "Rigshospitalet-AEro"),
        ("hosp_B-2", "hosp_B-2"),
        ("北京 医院=beijing", "beijing"),
    ],
)
def test_a_hospital_gets_a_name_that_flare_allows(written, name):
    site = hospital(written)
    assert site.name == name
    assert not site_problems(site)


def test_a_flare_name_with_a_dot_is_refused_with_a_better_one():
    (problem,) = site_problems(hospital("City Clinic=hosp.a"))
    assert "'City Clinic=hosp-a'" in problem


@pytest.mark.parametrize("written", ["北京 医院", "Клиника", "東京"])
def test_a_name_without_latin_letters_is_refused_with_what_to_do(written: str):
    (problem,) = site_problems(hospital(written))
    assert "in the form NAME=FLARE_NAME" in problem
    assert f"{written}=hospital-a" in problem


@pytest.mark.parametrize("written", ["-rf", "--help", "--site x", "City=-rf", "-a=b", "-é"])
def test_a_name_that_is_an_option_to_a_command_is_refused(written: str):
    (problem,) = site_problems(hospital(written))
    assert "begins with a dash" in problem


@pytest.mark.parametrize("written", ["", " ", "="])
def test_a_site_without_a_name_is_not_told_to_take_one_with_an_equals_sign(written: str):
    (problem,) = site_problems(hospital(written))
    assert "a site has no name" in problem
    assert "=" not in problem


def test_a_person_whose_name_is_an_option_is_refused():
    with pytest.raises(ProvisionError, match="is not named like"):
        hearts(leads=["-rf@uni.org"])


def test_of_two_sites_with_one_name_a_free_one_is_proposed():
    with pytest.raises(ProvisionError, match=r"would all be 'A-B'.* 'A-B=A-B-4'"):
        hearts(sites=["A.B", "A-B", "a-b-2", "A-B-3"])


def test_the_ports_that_are_said_to_be_there_are_those_that_are_taken():
    for port in (1, 80, 65_535):
        assert hearts(port=port).port == port
    for port in (0, 65_536, 99_999):
        with pytest.raises(ProvisionError, match=f"port {port} .* from 1 to 65535"):
            hearts(port=port)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ProvisionError) as told:
        hearts(
            name="my hearts",
            server="https://hub:8002",
            port=0,
            sites=["c=a.b", "A x", "a x"],
            leads=["ann"],
            admins=[],
            days=0,
            root_days=3,
        )
    message = str(told.value)
    for part in (
        "'my-hearts'",
        "no host name",
        "port 0",
        "'c=a-b'",
        "would all be",
        "'ann'",
        "--admin",
    ):
        assert part in message
    assert "last 0 days" in message


def test_one_person_has_one_role():
    with pytest.raises(ProvisionError, match="is named 2 times"):
        hearts(officers=["Ann@uni.org"])


def test_certificates_cannot_outlive_the_root():
    with pytest.raises(ProvisionError, match="outlive the root of 50"):
        hearts(root_days=50)


def test_the_file_says_who_takes_part_and_how_long_certificates_last():
    data = yaml.safe_load(project_text(hearts()))
    assert [one["name"] for one in data["participants"]] == [
        *("hub.uni.org", "St-Marys-Hospital-A", "hosp-B"),
        *("ann@uni.org", "omar@uni.org", "ida@uni.org"),
    ]
    roles = [one.get("role") for one in data["participants"]]
    assert roles[3:] == ["lead", "member", "project_admin"]
    assert data["builders"][2]["args"] == {"root_valid_days": 3650, "valid_days": 100}
    assert data["builders"][-1]["path"] == "provisioning.builders.HardenedKitBuilder"


def test_a_name_cannot_bring_lines_into_the_file():
    data = yaml.safe_load(project_text(hearts(sites=["A b\n  - name: evil=hosp-a"])))
    assert [one["name"] for one in data["participants"]][1:3] == ["hosp-a", "ann@uni.org"]


NO_TEXTS = ("null", "yes", "12", "1e3", "1_000", "0x1F", "Off")  # to YAML, without quotes


def test_names_that_yaml_takes_for_something_else_stay_names(tmp_path: Path):
    wanted = hearts(name="on", server="10", sites=list(NO_TEXTS))
    made = make_project(wanted, tmp_path / "on", keys_at_home=True)
    data = yaml.safe_load(made.file.read_text())
    assert data["name"] == "on"
    assert [one["name"] for one in data["participants"]][:-3] == ["10", *NO_TEXTS]
    assert [one["org"] for one in data["participants"]][1:-3] == list(NO_TEXTS)
    profile = yaml.safe_load((made.folder / "profile.yml").read_text())
    assert (profile["name"], profile["server"]["host"]) == ("on", "10")
    for name in ("10", *NO_TEXTS):
        asked = yaml.safe_load((made.folder / "requests" / f"{name}.yml").read_text())
        assert (asked["name"], asked["participants"][0]["name"]) == ("on", name)


def test_the_number_of_patients_is_to_be_rounded_up_since_fewer_than_there_are_is_refused():
    (line,) = [line for line in kit_site_text("hosp-B").splitlines() if "patients: " in line]
    assert "rounded up" in line


@pytest.mark.parametrize("name", NO_TEXTS)
def test_such_a_name_comes_and_goes_and_is_remembered_as_it_is(tmp_path: Path, name: str):
    file = read_project(make_project(hearts(), tmp_path / "hearts").file)
    larger = file.with_block(site_text(hospital(name)), "client")
    assert larger.types[name] == "client"
    assert larger.without(name).text == file.text
    assert larger.without(name).retiring(name).retiring("omar@uni.org").retired[0] == name


@pytest.mark.parametrize("old", ['name: "hosp-B"', 'name: "hearts"', "retired: []"])
def test_a_name_that_is_no_text_is_refused_where_somebody_wrote_it(tmp_path: Path, old: str):
    path = make_project(hearts(), tmp_path / "hearts").file
    new = "retired: [no]" if old == "retired: []" else "name: no"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ProvisionError, match="the name False, which is no text to YAML"):
        read_project(path).retired  # noqa: B018


def test_a_project_lies_in_a_folder_of_its_owner_alone(tmp_path: Path):
    made = make_project(hearts(), tmp_path / "hearts")
    assert made.folder.stat().st_mode & 0o077 == 0
    assert made.file.stat().st_mode & 0o077 == 0
    with pytest.raises(ProvisionError, match="join"):
        make_project(hearts(), tmp_path / "hearts")


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o755])
def test_a_folder_that_others_may_read_is_refused_before_anything_is_written(tmp_path, mode):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ProvisionError, match="chmod go-rwx"):
        make_project(hearts(), folder)
    assert not list(folder.iterdir())


def test_a_participant_comes_and_goes_and_the_rest_of_the_text_stays(tmp_path: Path):
    file = read_project(make_project(hearts(), tmp_path / "hearts").file)
    larger = file.with_block(site_text(hospital("New One")), "client")
    assert list(larger.types)[3] == "New-One"  # after the other sites, before the people
    assert larger.without("New-One").text == file.text


@pytest.mark.parametrize("name", ["St-Marys-Hospital-A", "hosp-B", "ida@uni.org"])
def test_each_participants_lines_can_be_taken_out(tmp_path: Path, name: str):
    file = read_project(make_project(hearts(), tmp_path / "hearts").file)
    assert set(file.types) - set(file.without(name).types) == {name}


def test_lines_that_somebody_added_go_with_their_participant(tmp_path: Path):
    path = make_project(hearts(), tmp_path / "hearts").file
    more = (
        '    org: "hosp_B"\n'
        + "    components:\n      resource_manager:\n        args: {gpus: 1}\n"
    )
    path.write_text(path.read_text().replace('    org: "hosp_B"\n', more))
    assert "gpus" not in read_project(path).without("hosp-B").text


def test_who_was_retired_is_remembered(tmp_path: Path):
    file = read_project(make_project(hearts(), tmp_path / "hearts").file)
    twice = file.retiring("hosp-B").retiring("omar@uni.org")
    assert twice.retired == ["hosp-B", "omar@uni.org"]
    assert "# whom the server refuses" in twice.text


@pytest.mark.parametrize("text", ["[", "name: x\n", "participants: [1]\nname: x\n"])
def test_what_is_no_project_file_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "project.yml"
    path.write_text(text)
    with pytest.raises(ProvisionError, match="project file"):
        read_project(path)


def test_a_participant_is_found_by_name_and_as_people_write_it(tmp_path: Path) -> None:
    sites = ["St. Mary's Hospital A", "Dr. Weber=weber-clinic", "hosp-B"]
    made = make_project(hearts(sites=sites), tmp_path / "hearts")
    file = read_project(made.file)
    for said, name in (
        ("St-Marys-Hospital-A", "St-Marys-Hospital-A"),
        ("St. Mary's Hospital A", "St-Marys-Hospital-A"),
        ("St. Mary's  hospital a", "St-Marys-Hospital-A"),
        ("Dr. Weber", "weber-clinic"),
        ("hosp-B", "hosp-B"),
    ):
        assert file.called(said) == name
    for said, name in (("hosp-b", "hosp-B"), ("St. Marys Hosp. A", "St-Marys-Hospital-A")):
        with pytest.raises(ProvisionError, match=f"do you mean '{name}'"):
            file.called(said)
    with pytest.raises(ProvisionError) as refused:
        file.called("zzz")
    assert "do you mean" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('description: "', 'description: "\\xE9', "no text in UTF-8"),
        ("\nbuilders:", "\nbuilders: 3\nothers:", "needs builders as a list"),
        ("\nbuilders:", "\nbuilders: [1]\nothers:", "needs builders as a list"),
        ('  - name: "hosp-B"', '  - name: "hosp-B"\n    name: "x"', "'name' stands there twice"),
        ("\nparticipants:", "\nparticipants: []\nparticipants:", "'participants' stands there tw"),
        ("type: server", "type: client", "has 0 participants with `type: server`"),
        ("type: client", "type: server", "has 3 participants with `type: server`"),
        ('name: "hosp-B"', 'name: "ann@uni.org"', "has 'ann@uni.org' more than once"),
        ("      valid_days: 100", "      valid_days: -1", "has valid_days: -1; write a number"),
        ("      valid_days: 100", "      valid_days: true", "has valid_days: True; write a number"),
        ("root_valid_days: 3650", "root_valid_days: x", "has root_valid_days: 'x'; write a number"),
    ],
)
def test_what_somebody_changed_by_hand_is_told_in_a_sentence_with_the_file(
    tmp_path: Path, old: str, new: str, told: str
):
    path = make_project(hearts(), tmp_path / "hearts").file
    assert old in path.read_text()
    path.write_bytes(path.read_text().replace(old, new).encode().replace(b"\\xE9", b"\xe9"))
    with pytest.raises(ProvisionError, match=r"project file .*project\.yml") as refused:
        read_project(path)
    assert told in str(refused.value)


def test_whom_the_server_refuses_is_a_list_and_a_name_stands_with_its_participant(tmp_path: Path):
    path = make_project(hearts(), tmp_path / "hearts").file
    before = path.read_text()
    path.write_text(before.replace("retired: []", "retired: hosp-C"))
    with pytest.raises(ProvisionError, match="retired: 'hosp-C', which is no list"):
        _ = read_project(path).retired
    path.write_text(
        before.replace("\nparticipants:", '\nb: &b\n  name: "hosp-B"\n\nparticipants:').replace(
            '  - name: "hosp-B"', "  - <<: *b"
        )
    )
    with pytest.raises(ProvisionError, match="has its name from elsewhere"):
        read_project(path).without("hosp-B")
