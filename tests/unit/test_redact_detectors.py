"""What each detector takes for its own at the edges, and what of real logs it must leave alone.

A case marks the hits with braces: `from ⟨10.0.0.1⟩ port 22`. The negatives are lines of real systems, or pieces of
them. How well the detectors do on the whole is measured on the corpus, in tests/redaction.
"""

import re

import pytest

from sluice_redact import DETECTORS, Policy, Redactor

_ALL = Redactor()


def _only(detector: str) -> Redactor:
    return Redactor(Policy({name: "Replace" if name == detector else "Keep" for name in DETECTORS}))


_SINGLE = {name: _only(name) for name in DETECTORS}

POSITIVES = {
    "email": [
        "⟨bob.smith+tag@mail.example.co.uk⟩",
        "to <⟨o'brien@example.com⟩>, '⟨bob@example.com⟩'",
        "mailto:⟨bob@example.com⟩?subject=x",
        'login {"user":"⟨a_b-c@sub.example.org⟩"}',
        "user=⟨bob@example.com⟩ ip=local",
        "⟨josé@example.com⟩ wrote",
        "邮箱⟨bob@example.com⟩谢谢",
        "write to ⟨bob@example.com⟩.",
        "[Account ⟨xpc_ben@163.com⟩@https://caldav.163.com/caldav",
        "kernel: Linux version 2.6.5-1.358 (⟨bhcompile@bugs.build.redhat.com⟩) (gcc version 3.3.3",
        "⟨a@b.co⟩,⟨c@d.io⟩",
        "GET /invite?to=⟨anna.kovacs%40example.net⟩&lang=hu",
        r'{"text":"from\n⟨bob@example.com⟩\tand \u003c⟨ann@example.com⟩\u003e"}',
    ],
    "phone": [
        "User ⟨555-0199⟩ accessed",
        "⟨+1 (415) 555-2671⟩",
        "⟨415-555-2671⟩, ⟨415.555.2671⟩; ⟨(415) 555-2671⟩",
        "or ⟨415 555 2671⟩ in the evening",
        "⟨1-800-555-0199⟩ toll free",
        "dial ⟨+44 20 7946 0958⟩ or ⟨+44 (0)20 7946 0958⟩",
        "⟨+49 30 123456⟩, ⟨+33 1 23 45 67 89⟩, ⟨+86 138 0013 8000⟩, ⟨+91 98765 43210⟩",
        'tel: ⟨4155552671⟩, phone=⟨4155552671⟩, {"phoneNumber":"⟨4155552671⟩"}',
        "customer_phone: ⟨020 7946 0958⟩",
        "call me at ⟨4155552671⟩",
        "call ⟨07911 123456⟩ now",
        "⟨415-555-2671 ext. 12⟩",
        "sms to ⟨+14155552671⟩ failed",
        "⟨0049 30 901820⟩, ⟨00 44 20 7946 0958⟩, ⟨001-415-555-2671x89⟩",
        "⟨020 7946 0958⟩; ⟨030/901820⟩; ⟨(030) 901820⟩; ⟨0171 1234567⟩; ⟨06 12 34 56 78⟩",
        "⟨01.45.67.20.31⟩; ⟨08-123 456 78⟩",
        "⟨03-1234-5678⟩, ⟨090-1234-5678⟩, ⟨(11) 91234-5678⟩, ⟨138-0013-8000⟩, ⟨8 (495) 123-45-67⟩",
        "Bitte unter der Rufnummer ⟨01520 1234567⟩ melden, joignable au ⟨06 12 34 56 78⟩, llámame al ⟨612 345 678⟩",
        "callerid=⟨4155552671⟩ caller=⟨00442079460112⟩ msisdn=⟨447700900123⟩",
        "Jane,⟨090-5085-2704⟩,Osaka",
    ],
    "us_ssn": [
        "ssn=⟨123456789⟩ SSN: ⟨123456789⟩",
        "W2_⟨123-45-6789⟩.pdf",
        "ssn ⟨123-45-6789⟩.",
        "SSN ⟨123 45 6789⟩",
        "ssn=⟨123-45-6789⟩&x",
        '"⟨899-99-9999⟩"',
        "(⟨123-45-6789⟩)",
    ],
    "credit_card": [
        "⟨4111 1111 1111 1111⟩",
        "pan=⟨4111-1111-1111-1111⟩;",
        "⟨4111111111111111⟩ ⟨5555555555554444⟩ ⟨2223003122003222⟩",
        "⟨378282246310005⟩ or ⟨3782 822463 10005⟩",
        "⟨30569309025904⟩ ⟨3056 930902 5904⟩",
        "⟨6011111111111117⟩ ⟨3530111333300000⟩ ⟨6200000000000005⟩",
        "card ⟨4111 1111 1111 1111⟩ 123",
        "row 1234 ⟨4111 1111 1111 1111⟩",
        "card number: ⟨4000000000000000006⟩",
    ],
    "ipv4": [
        "accessed from IP ⟨192.168.1.100⟩",
        "Receiving block src: /⟨10.251.73.220⟩:50010 dest: /⟨10.251.73.220⟩:50010",
        "localhost/⟨127.0.0.1⟩:8080, ⟨10.0.0.0⟩/8",
        "from ⟨10.0.0.1⟩-⟨10.0.0.9⟩.",
        "sshd[24833]: Failed password for root from ⟨183.62.140.253⟩ port 34100 ssh2",
        "network changed: v4(en0:⟨10.105.162.105⟩)",
        "rhost=⟨218.22.3.51⟩  user=root",
    ],
    "ipv6": [
        "⟨::1⟩",
        "⟨fe80::1%eth0⟩ up",
        "[⟨2001:db8::1⟩]:443",
        "⟨2001:db8:85a3::8a2e:370:7334⟩.",
        "⟨2001:0db8:0000:0000:0000:0000:0000:0001⟩",
        "⟨::ffff:192.168.1.1⟩",
        "peer:⟨fe80::1⟩: bad",
        "addr=⟨2001:db8::⟩/32",
        "v6(en0:⟨2607:f140:6000:8:c6b3:1ff:fecd:467f⟩) DNS!",
        "[QuorumPeer[myid=1]/⟨0:0:0:0:0:0:0:0⟩:2181:QuorumCnxManager$RecvWorker@765]",
    ],
    "iban": [
        "⟨DE89 3704 0044 0532 0130 00⟩ bitte",
        "an ⟨GB82WEST12345698765432⟩.",
        "⟨NO9386011117947⟩, ⟨FR14 2004 1010 0505 0001 3M02 606⟩",
    ],
    "mac": [
        "said ⟨00:11:22:33:44:55⟩",
        "⟨84-41-67-32-DB-E1⟩,",
        "lladdr ⟨5c50.154c.1813⟩ on",
        "peer=⟨00:00:00:00:00:00⟩ port 3",
    ],
    "jwt": [
        "Bearer-less ⟨eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl⟩.",
        "x⟨eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.⟩",
    ],
    "private_key": [
        "⟨-----BEGIN RSA PRIVATE KEY-----\nMIIB\nAAAA==\n-----END RSA PRIVATE KEY-----⟩ end",
        r'{"key":"⟨-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----⟩\n"}',
        "cut off: ⟨-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE⟩",
    ],
    "aws_access_key": [
        "id ⟨AKIAIOSFODNN7EXAMPLE⟩, glued⟨ASIAIOSFODNN7EXAMPLE⟩glued",
        "aws_secret_access_key = ⟨wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY⟩",
        'SecretAccessKey": "⟨wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY⟩"',
    ],
    "gcp_key": [
        "key=⟨AIzaSyA1234567890abcdefghijklmnopqrstuv⟩&x",
        "⟨ya29.a0AfH6SMBx1234567890abcdef⟩",
        "⟨GOCSPX-1234567890abcdefghijklmnopqr⟩",
    ],
    "azure_key": [
        "AccountKey=⟨" + "Ab1+/x" * 14 + "Zz==⟩;EndpointSuffix",
        "?sv=2024&sig=⟨abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG%3D⟩&se=1",
    ],
    "github_token": [
        "⟨ghp_abcdefghijklmnopqrstuvwxyz0123456789⟩",
        "https://⟨ghs_abcdefghijklmnopqrstuvwxyz0123456789⟩@github.com/a/b",
    ],
    "slack_token": [
        "⟨xoxb-123456789012-abcdefABCDEF⟩ ok",
        "https://hooks.slack.com/services/⟨T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX⟩",
    ],
    "authorization": [
        "Authorization: Bearer ⟨abcdef123456⟩",
        'curl -H "Authorization: Basic ⟨dXNlcjpwYXNz⟩"',
        '{"authorization":"token ⟨a1b2c3d4e5f6⟩"}',
        "sent Basic ⟨dXNlcjpwYXNz⟩ and bearer ⟨mF_9.B5f-4.1JqM0123⟩",
    ],
    "url_credentials": [
        "postgres://⟨app:s3cr@t⟩@db:5432/x",
        "redis://⟨:hunter2⟩@cache/0",
        "(https://⟨a:b⟩@host.example.org/)",
    ],
    "password_assignment": [
        "password=⟨hunter2⟩, next",
        '{"password": "⟨abc\\"def⟩", "clientSecret":"⟨x9!kk⟩"}',
        r'"{\"apiKey\":\"⟨k-123456⟩\"}"',
        "export API_KEY=⟨k3y-abc⟩; mysql --password ⟨s3cret⟩ -u root",
        "Server=x;User Id=sa;Pwd=⟨Sommer#24⟩;Encrypt=true",
        "<password>⟨h&amp;m 3⟩</password> <add key='DbPassword' value='⟨pa55⟩'/>",
        "GET /login?user=a&password=⟨p4ss⟩&next=/ token=⟨f3a9c2d17b⟩",
        "password: ⟨correcthorse⟩",
        "CREATE USER x WITH PASSWORD '⟨Gehe1m⟩'",
    ],
}

NEGATIVES = [
    # HDFS
    "081109 203615 148 INFO dfs.DataNode$PacketResponder: Responder 1 for block blk_-1608999687919862906 terminating",
    "081110 143551 12299 INFO dfs.DataNode$DataXceiver: Receiving block blk_4344934934043642744 size 67108864",
    # Spark
    "17/06/09 20:10:40 INFO executor.CoarseGrainedExecutorBackend: Registered signal handlers for [TERM, HUP, INT]",
    "17/06/09 20:11:11 INFO executor.Executor: Finished task 20.0 in stage 29.0 (TID 1340). 2128 bytes result sent",
    # Zookeeper
    "2015-07-29 19:29:03,816 - WARN  [RecvWorker:188978561024:QuorumCnxManager$RecvWorker@765] - Interrupting",
    "2015-07-30 19:57:45,009 - INFO  [CommitProcessor:3:ZooKeeperServer@595] - Established session 0x34ede65503f002d",
    # OpenStack
    "nova-compute.log.1.2017-05-16_13:55:31 2017-05-16 00:07:17.508 2931 INFO nova.compute.resource_tracker",
    "[req-addc1839-2ed5-4778-b57e-5854eb7b8b09 - - - - -] Final resource view: phys_ram=64172MB used_ram=512MB",
    "GET /v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/detail HTTP/1.1 status: 200 len: 1893 time: 0.2570438",
    # Windows, Android, BGL, proxies
    "2016-09-28 04:30:30, Info CBS Loaded Servicing Stack v6.1.7601.23505 with Core: C:\\Windows\\winsxs\\amd64",
    "1131566461 2005.11.09 dn228 Nov 9 12:01:01 dn228/dn228 crond(pam_unix)[2915]: session closed",
    "- 1117838570 2005.06.03 R02-M1-N0-C:J12-U11 2005-06-03-15.42.50.363779 RAS KERNEL INFO",
    "[10.30 16:49:06] chrome.exe - proxy.cse.cuhk.edu.hk:5070 close, 451 bytes sent, 18846 bytes (18.4 KB) received",
    "kernel[0]: AppleCamIn::systemWakeCall - messageType = 0xE0000340",
    "ARPT: 661552.832561: IOPMPowerSource Information: onWake,  SleepType: Normal Sleep",
    "calvisitor-10-105-162-105 com.apple.cts[258]",
    # versions and OIDs
    "v1.2.3.4 and version 1.2.3.4, Version: 1.2.3.4, build 10.0.0.1",
    "1.2.3.4.5 .1.3.6.1 1.3.6.1.4.1.311 lib-1.2.3.4.jar 10.4.0.1-rc1",
    "Package_for_KB2928120~31bf3856ad364e35~amd64~~6.1.1.2, Applicable",
    "Mozilla/5.0 Chrome/96.0.46.110 Safari/5.1.7.1",
    "256.1.1.1 10.5.4.300",
    # times, MACs, fingerprints, names of programs
    "at 12:34:56 and 12:34:56:: said",
    "1234.5678.9012 0011.2233.4455 00:11:22:33:44:55:66 00-11-22-33-44-55-66-77",
    "06 12 34 56 78 9a 00 44 12 34 56 78 90 ab 01-02-03 01.02.2026 10:00 0001 0002 0003",
    "part 0451-12345 order 0234-56789 ISBN 0-306-40615-2 12345 678 901 2 columns 030 901820 17 4",
    "aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99 50:06:01:60:3b:a0:17:b6",
    "std::vector std::chrono::abs a::b dead::beef b2::World ::",
    # numbers
    "1475025030 1475025030123 1475025030123456 20160928043030 4155552671",
    "12345678-1234-1234-1234-123456789012 113d3a99c3da401fbd62cc2caa5b96d2",
    "Range: bytes=500-1023/2048, bytes 200-1023, port 55555-5555, lines 200-1000",
    "[10/Oct/2000:13:55:36 +1000] 12345 +0530 foo+0x12/0x34",
    "sizes 256 512 1024 2048",
    "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000 1-123-45-6789",
    "4111 1111 1111 1112 4111111111111112 0000000000000000 4111-1111 1111-1111",
    "call 1475025030 failed, syscall 4155552671, 0x4155552671",
    # talk of secrets
    "password: required, invalid password: attempt 3, Failed password for root from port 22",
    "password = getPassword() if token == null: secret = os.environ['SECRET'] pass=${PASS} pwd=/home/me",
    "password=*** passwd=<hidden> token=Token{a64f992 next_token=abc123def token: expired",
    "Version=4.0.0.0, Culture=neutral, PublicKeyToken=31bf3856ad364e35",
    "Authorization: required; authorization: Bearer token is missing; Basic usage; Authorization: Digest username=x",
    "https://host:8080/a@b http://user@host.example.org:80/ postgres://app:***@db/x ssh://git@github.com/a/b",
    "AKIA is a prefix, eyJ too, xoxb- as well, -----BEGIN CERTIFICATE-----",
    "GB00WEST12345698765432 DE89370400440532013001 XX89370400440532013000",
    "user@1000.service image@2x.png lodash@4.17.21-beta.rc root@localhost @handle a@b java.lang.Object@5e2de80c",
]


@pytest.mark.parametrize("detector", POSITIVES)
def test_finds_exactly_its_own(detector: str) -> None:
    for marked in POSITIVES[detector]:
        text = marked.replace("⟨", "").replace("⟩", "")
        wanted = re.findall("⟨(.*?)⟩", marked, re.DOTALL)
        for redactor in (_SINGLE[detector], _ALL):
            hits = redactor.scan(text)
            assert [text[hit.start : hit.end] for hit in hits if hit.detector == detector] == wanted, text


def test_every_detector_has_cases() -> None:
    assert set(POSITIVES) == set(DETECTORS)


@pytest.mark.parametrize("line", NEGATIVES)
def test_leaves_machine_logs_alone(line: str) -> None:
    assert [(hit.detector, line[hit.start : hit.end]) for hit in _ALL.scan(line)] == []
