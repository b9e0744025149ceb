"""Damaged and hostile images: a clear error, no crash, bounded work, and never a changed byte."""
import os
import random
import resource
import shutil

import context  # noqa: F401
import proc
import qbatch
import qcow2
from fixture import MIB, ImageTest, main

REQUESTS = ({"compat": "0.10"}, {"refcount_bits": 64}, {"lazy_refcounts": "on"},
            {"size": 1 << 34})
PATIENCE_SECONDS = 60
TENANT, NOBODY = 54321, 65534
UGLY = (1, 0x1FF, 1 << 20, 1 << 40, 1 << 55, (1 << 56) - 512, (1 << 63) - 1, (1 << 64) - 1)


def bounded_memory():
    """A hostile header must not make the tool ask for the machine's memory.  (ASan needs its own.)"""
    if not os.environ.get("QBATCH_SANITIZED"):
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


class Hostile(ImageTest):
    def victim(self, **options):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create(cluster_size=4096, backing="base.raw", backing_fmt="raw", **options)
        self.io(image, "write -q -P 1 0 256k", "write -q -c -P 2 512k 4k", "write -q -z 0 64k",
                "write -q -z -u 600k 64k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 3 0 32k")
        return image

    def withstands(self, image, request):
        """Amended or refused; refused means untouched, amended means sound.  The status."""
        sha = proc.sha256(image)
        argv = ["amend", "--json", "-o", qbatch.option_string(request), image]
        answer = qbatch.qbatch(*argv, timeout=PATIENCE_SECONDS, preexec=bounded_memory)
        self.assertFalse(answer.crashed or answer.result.timed_out, str(answer))
        self.assertIn(answer.code, (0, 1), str(answer))
        if answer.status == "failed":
            self.assertEqual(proc.sha256(image), sha, str(answer))
            self.assertNotIn(answer.error, ("internal", "verify", "memory"), str(answer))
            self.assertTrue(answer.first["error"]["message"])
        return answer

    def check_withstands(self, image):
        """Read by all commands that change nothing; an image beside it is not affected."""
        sha = proc.sha256(image)
        answer = qbatch.qbatch("check", image, timeout=PATIENCE_SECONDS, preexec=bounded_memory)
        self.assertFalse(answer.crashed or answer.result.timed_out, str(answer))
        self.others_withstand("info", image)
        self.others_withstand("map", image)
        self.assertEqual(proc.sha256(image), sha)

    def others_withstand(self, command, image):
        sound = self.path("sound.qcow2")
        if not os.path.exists(sound):
            self.create("sound.qcow2")
        answer = qbatch.qbatch(command, "--json", sound, image, sound, timeout=PATIENCE_SECONDS, preexec=bounded_memory)
        self.assertFalse(answer.crashed or answer.result.timed_out, str(answer))
        self.assertEqual([record["status"] for record in answer.records][::2], ["read", "read"], str(answer))
        self.assertIn(answer.code, (0, 1), str(answer))

    def spoil(self, image, offset, data):
        """One copy with these bytes spoiled meets a request (in turn) and a check."""
        one = self.copy(image, "spoiled.qcow2")
        qcow2.patch(one, offset, data)
        self.turn = getattr(self, "turn", -1) + 1
        self.check_withstands(one)
        return self.withstands(one, REQUESTS[self.turn % len(REQUESTS)])

    def test_each_field_of_the_header(self):
        image = self.victim()
        for name, (offset, code) in qcow2.HEADER_FIELDS.items():
            width = 4 if code == "I" else 8
            for value in UGLY:
                with self.subTest(field=name, value=hex(value)):
                    self.spoil(image, offset, (value % (1 << 8 * width)).to_bytes(width, "big"))

    def test_header_fields_that_only_shift_a_table_by_a_cluster(self):
        image = self.victim()
        found = qcow2.load(image)
        for name in ("l1_table_offset", "refcount_table_offset", "snapshots_offset"):
            for target in (0, 4096, found.l1_table_offset, found.refcount_table_offset,
                           found.l1()[0] & qcow2.L1_OFFSET):
                if target != found.header[name]:
                    with self.subTest(field=name, target=hex(target)):
                        answer = self.spoil(image, qcow2.HEADER_FIELDS[name][0],
                                            target.to_bytes(8, "big"))
                        self.assertIn(answer.status, ("failed", "changed"))

    def test_each_extension(self):
        image = self.victim()
        for extension in qcow2.load(image).extensions():
            for value in (0, 7, 0x7FFFFFFF, 0xFFFFFFF8, 0xFFFFFFFF, 4096):
                with self.subTest(extension=hex(extension.type), length=hex(value)):
                    self.spoil(image, extension.offset - 4, value.to_bytes(4, "big"))

    def test_l1_entries(self):
        image = self.victim()
        found = qcow2.load(image)
        for value in (*UGLY, found.l1_table_offset, found.refcount_table_offset, 4096, 4097):
            for flag in (0, qcow2.COPIED):
                with self.subTest(entry=hex(value | flag)):
                    self.spoil(image, found.l1_table_offset, (value | flag).to_bytes(8, "big"))

    def test_l2_entries_of_every_layer(self):
        image = self.victim()
        found = qcow2.load(image)
        for l1, _ in found.l1s():
            place = found.l2_entry_offset(0, l1)
            for value in (*UGLY, 1 << 62, qcow2.COMPRESSED | 0xFFFFFFFFFFFF, 4096 | 1, 512):
                with self.subTest(layer=hex(l1), entry=hex(value)):
                    self.spoil(image, place, (value % (1 << 64)).to_bytes(8, "big"))

    def test_refcount_table_and_blocks(self):
        image = self.victim()
        found = qcow2.load(image)
        block = found.u64(found.refcount_table_offset)
        for place in (found.refcount_table_offset, found.refcount_table_offset + 8, block,
                      block + 64):
            for value in (0, *UGLY, found.l1_table_offset):
                with self.subTest(place=hex(place), value=hex(value)):
                    self.spoil(image, place, value.to_bytes(8, "big"))

    def test_the_snapshot_table(self):
        image = self.victim()
        at = qcow2.load(image).snapshots_offset
        for offset, width in ((0, 8), (8, 4), (12, 2), (14, 2), (32, 4), (36, 4), (40, 8), (48, 8)):
            for value in UGLY:
                with self.subTest(offset=offset, value=hex(value)):
                    self.spoil(image, at + offset,
                               (value % (1 << 8 * width)).to_bytes(width, "big"))

    def test_truncated_files(self):
        image = self.victim()
        size = os.path.getsize(image)
        for length in (0, 1, 3, 4, 71, 72, 103, 104, 511, 512, 4095, 4096, 8192, 12288, size // 2,
                       size - 4096, size - 512, size - 1):
            with self.subTest(length=length):
                one = self.copy(image, "cut.qcow2")
                os.truncate(one, length)
                self.check_withstands(one)
                for request in REQUESTS[:2]:
                    answer = self.withstands(one, request)
                    if length < size - 8192:
                        self.assertEqual(answer.status, "failed", str(answer))

    def test_random_bytes_in_the_metadata(self):
        image = self.victim()
        rng = random.Random(7)
        found = qcow2.load(image)
        tables = [0, found.l1_table_offset, found.refcount_table_offset, found.snapshots_offset,
                  found.u64(found.refcount_table_offset)]
        tables += [e & qcow2.L1_OFFSET for e in found.l1() if e]
        for number in range(60):
            with self.subTest(number=number):
                self.spoil(image, rng.choice(tables) + rng.randrange(256), rng.randbytes(8))


class ManyReferences(ImageTest):
    def one_l2_named_by_every_l1_entry(self, entries):
        image = self.create(size=entries * 512 * 64, cluster_size=512, compat="1.1")
        self.io(image, "write -q -P 1 0 512", "write -q -z -u 512 4k")
        found = qcow2.load(image)
        table = found.l1()[0].to_bytes(8, "big")
        qcow2.patch(image, found.l1_table_offset, table * entries)
        return image

    def test_one_l2_table_named_by_thousands_of_l1_entries_does_not_make_work_grow(self):
        for entries in (1000, 100000):
            image = self.one_l2_named_by_every_l1_entry(entries)
            sha = proc.sha256(image)
            answer = qbatch.amend(image, compat="0.10")
            self.assertEqual(answer.code, 1, str(answer))
            self.assertEqual(proc.sha256(image), sha)
            read = answer.first.get("io", {}).get("read_bytes", 0)
            self.assertLess(read, 4 * os.path.getsize(image) + MIB)

    def test_one_l1_named_by_thousands_of_snapshots_does_not_either(self):
        image = self.create(size="64M", cluster_size=512)
        self.io(image, "write -q -P 1 0 64k")
        self.snapshot(image, "s")
        many = 20000
        found = qcow2.load(image)
        first = found.snapshots()[0]
        length = (40 + first.extra_size + len(first.id) + len(first.name) + 7) // 8 * 8
        entry = found.data[first.offset:first.offset + length]
        table = -(-os.path.getsize(image) // 512) * 512
        qcow2.patch(image, table, (entry * many).ljust(-(-length * many // 512) * 512, b"\0"))
        qcow2.patch_header(image, snapshots_offset=table, nb_snapshots=many)
        answer = qbatch.amend(image, compat="0.10")
        self.assertFalse(answer.crashed)
        self.assertEqual(answer.code, 1, str(answer)[:2000])

    def test_a_huge_sparse_disk_with_nothing_in_it_is_cheap(self):
        image = self.create(size="60T")
        record = self.amended(image, compat="0.10")
        self.assert_sound(image)
        self.assertLess(record["io"]["read_bytes"] + record["io"]["write_bytes"], 16 * MIB)


class Folders(ImageTest):
    """What a tenant makes below a folder that a manifest's patterns, or its scan, go through."""

    def setUp(self):
        super().setUp()
        for name in ("sound", "tenant"):
            os.makedirs(self.path(f"fleet/{name}"))
        self.images = [self.create(f"fleet/sound/{i}.qcow2", size="4M") for i in range(3)]

    def too_deep(self):
        """A folder whose names are too long together: the last one that can be named."""
        here = os.open(self.path("fleet/tenant"), os.O_RDONLY)
        for _ in range(25):
            os.mkdir("d" * 200, dir_fd=here)
            self.addCleanup(os.close, here)
            os.chown("d" * 200, TENANT, TENANT, dir_fd=here) if os.geteuid() == 0 else None
            here = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        with os.fdopen(os.open("x.qcow2", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here), "wb") as f:
            f.write(b"QFI\xfb")
        os.close(here)

    def amend(self, text, **options):
        answer = qbatch.qbatch("--json", "--state", self.path("state"), self.manifest(text), **options)
        return answer, {os.path.relpath(r["path"], self.path("fleet")): r for r in answer.records}

    def test_one_that_is_too_deep_costs_its_own_line(self):
        self.too_deep()
        for pattern in ("fleet/**/*.qcow2", "fleet/**"):
            answer, records = self.amend(f'version: 1\nimages: [{{path: "{pattern}", lazy_refcounts: on}}]\n')
            self.assertEqual(answer.code, 1, str(answer)[:2000])
            deep = [name for name in records if name.startswith("tenant/ddd")]
            self.assertEqual((len(records), len(deep)), (4, 1), sorted(records))
            self.assertEqual(records[deep[0]]["error"]["code"], "not_qcow2")
            self.assertLess(len(deep[0]), 4096)
            for image in self.images:
                self.assert_sound(image)
        # excluded, it is not entered
        answer, records = self.amend('version: 1\nimages: [{path: "fleet/**/*.qcow2", exclude: [tenant], lazy_refcounts: off}]\n')
        self.assertEqual((answer.code, len(records)), (0, 3), answer)

    def test_so_does_one_that_cannot_be_opened(self):
        if os.geteuid():
            self.skipTest("takes root")
        self.create("fleet/tenant/x.qcow2")
        os.mkdir(self.path("state"))
        for root, _, _ in os.walk(self.folder):
            os.chown(root, NOBODY, NOBODY)
        for image in self.images:
            os.chown(image, NOBODY, NOBODY)
        os.chown(self.path("fleet/tenant"), TENANT, TENANT)
        os.chmod(self.path("fleet/tenant"), 0o700)
        tool = shutil.copy(qbatch.absolute(qbatch.TOOL), self.path("qbatch"))  # which another user may not reach where it is
        for pattern in ("fleet/*/*.qcow2", "fleet/*/[x0-9].qcow2"):
            answer, records = self.amend(f'version: 1\nimages: [{{path: "{pattern}", lazy_refcounts: on}}]\n', tool=tool, cwd=self.folder, preexec=proc.become_nobody)
            self.assertEqual(answer.code, 1, answer)
            self.assertEqual({name: r["status"] for name, r in records.items() if r["error"]}, {"tenant": "failed"}, answer)
        # what the pattern itself names is a mistake of the manifest
        answer, _ = self.amend('version: 1\nimages: [{path: "fleet/tenant/*.qcow2", lazy_refcounts: on}]\n', tool=tool, cwd=self.folder, preexec=proc.become_nobody)
        self.assertEqual(answer.code, 2, answer)

    def test_other_names_of_images_are_left_out(self):
        """Links and hard links that whoever owns a folder makes refuse nobody's manifest, and take no image's place."""
        own = self.create("fleet/tenant/5.qcow2", size="4M")
        os.link(own, self.path("fleet/tenant/6.qcow2"))
        os.symlink("../sound/0.qcow2", self.path("fleet/tenant/0.qcow2"))
        os.symlink("sound", self.path("fleet/a"))  # before the folder it leads to
        for i in range(2000):
            os.symlink("../sound/1.qcow2", self.path(f"fleet/tenant/many-{i}.qcow2"))
        wanted = ["sound/0.qcow2", "sound/1.qcow2", "sound/2.qcow2", "tenant/5.qcow2"]
        for switch, source in (("on", 'path: "fleet/*/*.qcow2"'), ("off", "from_file: list")):
            with open(self.path("list"), "w", encoding="utf-8") as f:
                f.writelines(f"fleet/{folder}/{name}\n" for folder in ("a", "tenant", "sound")
                             for name in sorted(os.listdir(self.path(f"fleet/{folder}"))))
            answer, records = self.amend(f'version: 1\nimages: [{{{source}, lazy_refcounts: {switch}}}]\n')
            self.assertEqual(answer.code, 0, str(answer)[:2000])
            self.assertEqual((sorted(records), {r["status"] for r in records.values()}), (wanted, {"changed"}))
            self.assertRegex(answer.result.err, 'note: .* is left out, it is the file of ".*; and 2004 more like it')
            self.assertLess(len(answer.result.err), 4000)
        # chosen by its name, a link is a mistake unless it is another user's
        text = 'version: 1\nimages: [{path: fleet/tenant/0.qcow2, size: +1M}, {path: "fleet/sound/*.qcow2", size: +1M}]\n'
        answer, _ = self.amend(text)
        self.assertEqual(answer.code, 2, answer)
        self.assertIn("is reached twice", answer.result.err)
        if os.geteuid() == 0:
            os.chown(self.path("fleet/tenant/0.qcow2"), TENANT, TENANT, follow_symlinks=False)
            answer, records = self.amend(text)
            self.assertEqual((answer.code, sorted(records)), (0, wanted[:3]), answer)

    def test_a_chain_that_is_not_whole_costs_its_own_line(self):
        sound = self.images[0]
        base = self.create("fleet/tenant/base.qcow2", size="4M")
        mid = self.create("fleet/tenant/mid.qcow2", backing=base, size="4M")
        head = self.create("fleet/tenant/head.qcow2", backing=mid, size="4M")

        def read(name):
            with open(name, "rb") as f:
                return f.read()
        whole = {name: read(name) for name in (base, mid, head)}

        def restore():
            for name, data in whole.items():
                if os.path.lexists(name):
                    os.unlink(name)
                with open(name, "wb") as f:
                    f.write(data)

        def fifo():
            os.unlink(head)
            os.mkfifo(head)
        breaks = {"corrupt": lambda: qcow2.patch(head, 100, b"\xff" * 4), "backing_missing": lambda: os.unlink(base),
                  "unsupported": lambda: qcow2.patch_header(head, version=9), "not_qcow2": fifo,
                  "backing_loop": lambda: proc.must(["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", head, base])}
        for i, (code, spoil) in enumerate(breaks.items()):
            with self.subTest(code):
                restore()
                spoil()
                answer, records = self.amend(f"""
                    version: 1
                    images: [{{chain: fleet/tenant/head.qcow2, lazy_refcounts: on}},
                             {{path: {sound}, lazy_refcounts: {"off" if i % 2 else "on"}}}]
                    """)
                self.assertEqual(answer.code, 1, answer)
                self.assertEqual({name: r["error"]["code"] if r["error"] else r["status"] for name, r in records.items()},
                                 {"tenant/head.qcow2": code, "sound/0.qcow2": "changed"}, answer)
                self.assertEqual(read(mid), whole[mid])
        os.unlink(head)  # nobody's name: most likely a mistyped one
        answer, _ = self.amend("version: 1\nimages: [{chain: fleet/tenant/head.qcow2, lazy_refcounts: on}]\n")
        self.assertEqual(answer.code, 2, answer)

    def test_a_scan_holds_back_what_its_owner_could_read(self):
        if os.geteuid():
            self.skipTest("takes root")
        self.too_deep()
        for line in ("fleet", '"fleet/**"'):
            for mode, status in ((0o600, "would_change"), (0o644, "failed")):
                os.chmod(self.images[0], mode)
                answer = qbatch.qbatch("--json", "--dry-run", self.manifest(f"""
                    version: 1
                    policy: {{allow_shrink: on}}
                    graph: {{scan: [{line}]}}
                    images: [{{path: fleet/sound/0.qcow2, size: 2M}}]
                    """))
                self.assertEqual(answer.status, status, str(answer)[:3000])
                if status == "failed":
                    self.assertRegex(answer.first["error"]["message"], "refusing to shrink: .*ddd.* is a directory")


if __name__ == "__main__":
    main()
