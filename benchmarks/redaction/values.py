"""Secrets, personal data, and what looks like them, made up by a generator with a seed.

Nothing is copied from anywhere: each has the form that its issuer documents, and random content.
"""

import base64
import json
import random
import string
from collections.abc import Callable

LOWER, UPPER, DIGITS, HEX = string.ascii_lowercase, string.ascii_uppercase, string.digits, "0123456789abcdef"
ALNUM = string.ascii_letters + DIGITS
URLSAFE = ALNUM + "-_"
Make = Callable[[random.Random], str]

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "iris",
    "juniper",
    "kestrel",
    "lagoon",
    "meadow",
    "nectar",
    "opal",
]
NAMES = [
    "anna.berg",
    "luis_ortega",
    "mei-lin.chen",
    "priya.nair",
    "tomasz.k",
    "zeynep99",
    "j.dupont",
    "kwame.a",
    "yuki.sato",
]
HOSTS = [
    "example.com",
    "mail.example.org",
    "firma-beispiel.de",
    "exemple.fr",
    "sub.domain.example.co.uk",
    "empresa.com.br",
]


def of(alphabet: str, *lengths: int) -> Make:
    return lambda rng: "".join(rng.choices(alphabet, k=rng.choice(lengths)))


def after(prefix: str, alphabet: str, *lengths: int) -> Make:
    body = of(alphabet, *lengths)
    return lambda rng: prefix + body(rng)


def one_of(*makes: Make) -> Make:
    return lambda rng: rng.choice(makes)(rng)


def form(*patterns: str) -> Make:
    """``#`` is a digit, ``N`` one from 2 to 9."""

    def make(rng: random.Random) -> str:
        pattern = rng.choice(patterns)
        return "".join(
            rng.choice(DIGITS) if c == "#" else rng.choice("23456789") if c == "N" else c for c in pattern
        )

    return make


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def jwt(rng: random.Random) -> str:
    head = _b64(json.dumps({"alg": rng.choice(["HS256", "RS256"]), "typ": "JWT"}).encode())
    claims = {"sub": str(rng.randrange(10**9)), "exp": rng.randrange(17 * 10**8, 18 * 10**8)}
    return f"{head}.{_b64(json.dumps(claims).encode())}.{_b64(rng.randbytes(32))}"


def pem(rng: random.Random) -> str:
    name = rng.choice(["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"])
    lines = [base64.b64encode(rng.randbytes(48)).decode() for _ in range(rng.randrange(3, 9))]
    return "\n".join([f"-----BEGIN {name}-----", *lines, f"-----END {name}-----"])


def password(rng: random.Random) -> str:
    return rng.choice(WORDS).title() + "".join(rng.choices(ALNUM + "!$%*_", k=rng.randrange(6, 14))) + "7"


def basic(rng: random.Random) -> str:
    return "Basic " + base64.b64encode(f"{rng.choice(WORDS)}:{password(rng)}".encode()).decode()


def url_login(rng: random.Random) -> str:
    scheme = rng.choice(["postgres", "mysql", "mongodb+srv", "redis", "amqp", "https"])
    return (
        f"{scheme}://{rng.choice(WORDS)}:{rng.choice(ALNUM)}{of(ALNUM, 9, 14)(rng)}@db.example.net:5432/app"
    )


def connection(rng: random.Random) -> str:
    secret = of(ALNUM, 16, 24)(rng)
    azure = base64.b64encode(rng.randbytes(64)).decode()
    return rng.choice(
        [
            f"Server=tcp:sql.example.net,1433;Database=app;User ID=svc;Password={secret};Encrypt=True",
            f"Data Source=db1;Initial Catalog=crm;Uid=app;Pwd={secret};",
            f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={azure};EndpointSuffix=core.windows.net",
            f"host=db.example.net dbname=app user=svc password={secret} sslmode=require",
        ]
    )


def email(rng: random.Random) -> str:
    name, host = rng.choice(NAMES), rng.choice(HOSTS)
    return rng.choice([name, name.upper(), f"{name}+{rng.choice(WORDS)}", "jürgen.groß"]) + "@" + host


def luhn(digits: str) -> str:
    """The digit that makes it right."""
    doubled = (sum(divmod(2 * int(d), 10)) for d in digits[::-2])
    return str(-(sum(doubled) + sum(map(int, digits[-2::-2]))) % 10)


def _card_digits(rng: random.Random) -> str:
    start, length = rng.choice(
        [
            ("4", 16),
            ("51", 16),
            ("2221", 16),
            ("55", 16),
            ("37", 15),
            ("34", 15),
            ("6011", 16),
            ("3530", 16),
            ("36", 14),
        ]
    )
    digits = start + "".join(rng.choices(DIGITS, k=length - len(start) - 1))
    return digits + luhn(digits)


def _grouped(digits: str, sign: str) -> str:
    if len(digits) in (14, 15):
        return sign.join((digits[:4], digits[4:10], digits[10:]))
    return sign.join(digits[at : at + 4] for at in range(0, len(digits), 4))


def card(rng: random.Random) -> str:
    return _grouped(_card_digits(rng), rng.choice(["", " ", "-"]))


def no_card(rng: random.Random) -> str:
    digits = _card_digits(rng)
    return _grouped(digits[:-1] + str((int(digits[-1]) + rng.randrange(1, 10)) % 10), rng.choice(["", " "]))


# SWIFT's registry: n digits, a letters, c either.
IBANS = {
    "AD": "8n12c", "AE": "19n", "AT": "16n", "BE": "12n", "BG": "4a6n8c", "CH": "5n12c", "CY": "8n16c", "CZ": "20n",
    "DE": "18n", "DK": "14n", "EE": "16n", "ES": "20n", "FI": "14n", "FR": "10n11c2n", "GB": "4a14n", "GR": "7n16c",
    "HR": "17n", "HU": "24n", "IE": "4a14n", "IL": "19n", "IS": "22n", "IT": "1a10n12c", "LI": "5n12c", "LT": "16n",
    "LU": "3n13c", "LV": "4a13c", "MC": "10n11c2n", "MT": "4a5n18c", "NL": "4a10n", "NO": "11n", "PL": "24n",
    "PT": "21n", "QA": "4a21c", "RO": "4a16c", "RS": "18n", "SA": "2n18c", "SE": "20n", "SI": "15n", "SK": "20n",
    "SM": "1a10n12c", "TR": "5n17c", "UA": "6n19c", "GE": "2a16n", "KZ": "3n13c", "PK": "4a16c", "JO": "4a4n18c",
    "KW": "4a22c", "BH": "4a14c", "AL": "8n16c", "BA": "16n", "ME": "18n", "MD": "2c18c", "XK": "16n", "CR": "18n",
    "GT": "4c20c", "DO": "4c20n", "EG": "25n", "TN": "20n", "MR": "23n", "GI": "4a15c", "FO": "14n", "GL": "14n",
}  # fmt: skip


def iban(rng: random.Random) -> str:
    country = rng.choice([*IBANS])
    body, count = "", ""
    for c in IBANS[country]:
        if c.isdigit():
            count += c
        else:
            body += "".join(rng.choices({"n": DIGITS, "a": UPPER, "c": UPPER + DIGITS}[c], k=int(count)))
            count = ""
    value = int("".join(str(int(c, 36)) for c in f"{body}{country}00"))
    found = f"{country}{98 - value % 97:02}{body}"
    return rng.choice([found, " ".join(found[at : at + 4] for at in range(0, len(found), 4))])


def no_iban(rng: random.Random) -> str:
    found = iban(rng)
    return found[:2] + f"{(int(found[2:4]) + rng.randrange(1, 97)) % 100:02}" + found[4:]


def image(rng: random.Random) -> str:
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n" + rng.randbytes(600)).decode()


def isbn(rng: random.Random) -> str:
    digits = "978" + "".join(rng.choices(DIGITS, k=9))
    check = str(-sum(int(d) * (1, 3)[at % 2] for at, d in enumerate(digits)) % 10)
    return rng.choice([digits + check, f"{digits[:3]}-{digits[3]}-{digits[4:6]}-{digits[6:]}-{check}"])


def barcode(rng: random.Random) -> str:
    digits = rng.choice(["40", "50", "30", "59", "69"]) + "".join(rng.choices(DIGITS, k=10))
    return digits + str(-sum(int(d) * (1, 3)[at % 2] for at, d in enumerate(digits)) % 10)


def uuid(rng: random.Random) -> str:
    digits = of(HEX, 32)(rng)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


TOKENS: dict[str, Make] = {
    "AWS access key": after("AKIA", UPPER + "234567", 16),
    "GCP API key": after("AIza", URLSAFE, 35),
    "GCP OAuth": one_of(after("ya29.", URLSAFE, 60), after("GOCSPX-", URLSAFE, 28)),
    "GitHub": one_of(
        after("ghp_", ALNUM, 36), after("gho_", ALNUM, 36), after("github_pat_", ALNUM + "_", 82)
    ),
    "GitLab": after("glpat-", URLSAFE, 20),
    "Slack": one_of(after("xoxb-", DIGITS + ALNUM + "-", 50), after("xapp-1-A", UPPER + DIGITS + "-", 60)),
    "Slack webhook": after("https://hooks.slack.com/services/T0", UPPER + DIGITS, 30),
    "Stripe": one_of(
        after("sk_live_", ALNUM, 24, 99), after("rk_test_", ALNUM, 24), after("whsec_", ALNUM, 32)
    ),
    "OpenAI": one_of(after("sk-", ALNUM, 48), after("sk-proj-", URLSAFE, 74, 156)),
    "Anthropic": after("sk-ant-api03-", URLSAFE, 93),
    "JSON web token": jwt,
    "Hugging Face": after("hf_", string.ascii_letters, 34),
    "npm, PyPI": one_of(after("npm_", ALNUM, 36), after("pypi-", URLSAFE, 120)),
    "SendGrid": lambda rng: f"SG.{of(URLSAFE, 22)(rng)}.{of(URLSAFE, 43)(rng)}",
    "Twilio": lambda rng: f"SK{of(HEX, 32)(rng)}",
    "Telegram bot": lambda rng: f"{form('N#########')(rng)}:AA{of(URLSAFE, 33)(rng)}",
    "other services": one_of(
        *(
            after("gsk_", ALNUM, 52),
            after("dapi", HEX, 32),
            after("hvs.", URLSAFE, 90),
            after("shpat_", HEX, 32),
        ),
        *(after("dckr_pat_", URLSAFE, 27), after("lin_api_", ALNUM, 40), after("r8_", ALNUM, 37)),
        *(
            after("pplx-", ALNUM, 48),
            after("xai-", ALNUM, 80),
            after("glsa_", ALNUM, 32),
            after("NRAK-", UPPER + DIGITS, 27),
        ),
    ),
}
PHONES: dict[str, Make] = {
    "phone, international": form(
        *("+44 20 79## ####", "+49 30 ######", "+4917########", "+33 6 ## ## ## ##", "+1 N## N##-####"),
        *(
            "+1 (N##) N## ####",
            "+81-3-####-####",
            "+91 9#### #####",
            "+55 11 9####-####",
            "+86 13# #### ####",
        ),
        *("+61 4## ### ###", "+34 6## ### ###", "+39 06 #### ####", "+31 6 ########", "+48 6## ### ###"),
        *(
            "+82-10-####-####",
            "+7 9## ###-##-##",
            "+90 5## ### ## ##",
            "0044 20 79## ####",
            "0049 171 #######",
        ),
    ),
    "phone, North American": form(
        *("(N##) N##-####", "N##-N##-####", "N##.N##.####", "1-N##-N##-####", "N## N## ####"),
    ),
    "phone, national": form(
        *("020 79## ####", "07### ######", "0171 #######", "030 ######", "030/######", "06 ## ## ## ##"),
        *(
            "01.##.##.##.##",
            "03-####-####",
            "090-####-####",
            "010-####-####",
            "(11) 9####-####",
            "04## ### ###",
        ),
        *("09#### #####", "06-########", "13# #### ####", "02 #### ####"),
    ),
}
