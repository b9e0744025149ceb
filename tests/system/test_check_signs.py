"""Damage of known kinds, which `qbatch check` names besides its findings: what was lost, and where on the guest's disk."""
import os

import context  # noqa: F401
import guest
import qbatch
import qcow2
from fixture import KIB, MIB, ImageTest, main

CLUSTER = 4 * KIB
SPAN = 2 * MIB  # what a table of such clusters maps


class Signs(ImageTest):
    def full(self, size="8M", cluster_size=CLUSTER):
        image = self.create(size=size, cluster_size=cluster_size)
        self.io(image, f"write -q -P 1 0 {size}")
        return image

    def signs(self, image):
        """Of the image: {code: [finding]}; what is counted is what QEMU counts."""
        answer = qbatch.qbatch("check", "--json", image)
        self.assertFalse(answer.crashed, str(answer))
        found = {}
        for f in answer.first["findings"]:
            if f["kind"] == "sign":
                found.setdefault(f["code"], []).append(f)
        listed = answer.first["findings_by_code"]
        counted = sum(n for code, n in listed.items() if code not in found)
        self.assertEqual(counted, answer.first["corruptions"] + answer.first["leaks"])
        self.assertEqual({code: len(of) for code, of in found.items()}, {code: listed[code] for code in found})
        return found

    def counts_as_qemu(self, image):
        answer = qbatch.qbatch("check", "--json", image)
        code, corruptions, leaks, _ = guest.check(image)
        self.assertEqual((answer.first["corruptions"], answer.first["leaks"], answer.code), (corruptions, leaks, code))

    def table(self, image, index):
        found = qcow2.load(image)
        return found.u64(found.l1_table_offset + 8 * index) & qcow2.L1_OFFSET

    def drop(self, image, index):
        """The L1 entry is gone; returns where its table is."""
        at = self.table(image, index)
        qcow2.patch_u64(image, qcow2.load(image).l1_table_offset + 8 * index, 0)
        return at

    # ---- tables that were overwritten ---------------------------------------------------------
    def test_a_table_with_other_data_in_it(self):
        for data in (os.urandom(CLUSTER), b"some text that a guest wrote.." * 137, bytes(range(256)) * 16):
            image = self.full()
            at = self.table(image, 2)
            qcow2.patch(image, at, data[:CLUSTER])
            found = self.signs(image)
            self.assertEqual([(f["offset"], f["guest_offset"], f["guest_bytes"])
                              for f in found["table_overwritten"]], [(at, 2 * SPAN, SPAN)])
        out = qbatch.qbatch("check", image).result.out
        self.assertIn("Sign: an L2 table of the active layer has 512 entries", out)
        self.assertIn(f"; guest bytes {2 * SPAN:#x} to {3 * SPAN - 1:#x} may be lost\n", out)

    def test_the_range_ends_with_the_disk(self):
        image = self.full("3M")
        qcow2.patch(image, self.table(image, 1), b"\xff" * CLUSTER)
        sign = self.signs(image)["table_overwritten"][0]
        self.assertEqual((sign["guest_offset"], sign["guest_bytes"]), (SPAN, MIB))

    def test_a_table_of_a_snapshot(self):
        image = self.full()
        self.snapshot(image, "one")
        old = self.table(image, 1)
        self.io(image, "write -q -P 2 2M 4k")  # the active layer gets a table of its own
        self.assertNotEqual(self.table(image, 1), old)
        qcow2.patch(image, old, b"\xff" * CLUSTER)
        self.assertIn("of a snapshot", self.signs(image)["table_overwritten"][0]["message"])

    def test_an_l1_table_with_other_data_in_it(self):
        image = self.create(size="64M", cluster_size=512)  # spans of 32 KiB: 2048 entries in 32 clusters
        self.snapshot(image, "one")
        found = qcow2.load(image)
        for at, layer in ((found.l1_table_offset, "the active layer"),
                          (found.snapshots()[0].l1_table_offset, "a snapshot")):
            copy = self.copy(image, "copy")
            qcow2.patch(copy, at + 3 * 512, b"a guest's text. " * 64)  # two clusters of it
            signs = self.signs(copy)["table_overwritten"]
            self.assertEqual([(f["offset"], f["guest_offset"], f["guest_bytes"]) for f in signs],
                             [(at + i * 512, i * 2 * MIB, 2 * MIB) for i in (3, 4)])
            self.assertIn(f"an L1 table of {layer} has 64 entries, of which 64 cannot be", signs[0]["message"])

    def test_a_few_entries_are_no_overwritten_table(self):
        image = self.full()
        at = self.table(image, 1)
        for i in range(200):  # of 512
            qcow2.patch_u64(image, at + 8 * i, 1 << 60 | (2 * i + 1) * CLUSTER)
        self.assertNotIn("table_overwritten", self.signs(image))
        image = self.create(size="8M", cluster_size=CLUSTER)
        self.io(image, "write -q -P 1 0 28k")
        for i in range(7):  # all there are
            qcow2.patch_u64(image, self.table(image, 0) + 8 * i, 1 << 60 | (2 * i + 1) * CLUSTER)
        self.assertNotIn("table_overwritten", self.signs(image))

    # ---- tables that nothing names ------------------------------------------------------------
    def test_a_table_whose_l1_entry_is_gone(self):
        image = self.full()
        at = self.drop(image, 2)
        self.counts_as_qemu(image)
        found = self.signs(image)
        self.assertEqual([(f["offset"], f["guest_offset"], f["guest_bytes"]) for f in found["table_lost"]],
                         [(at, 2 * SPAN, SPAN)])
        self.assertIn("with 512 leaked clusters", found["table_lost"][0]["message"])

    def test_a_small_one(self):
        image = self.create(size="8M", cluster_size=CLUSTER)
        self.io(image, "write -q -P 1 0 2M", "write -q -P 1 4M 8k", "write -q -c -P 1 5M 4k")
        at = self.drop(image, 2)
        found = self.signs(image)
        self.assertEqual([(f["offset"], f["guest_offset"]) for f in found["table_lost"]], [(at, None)])
        self.assertIn("with 3 leaked clusters; 3 stretches", found["table_lost"][0]["message"])

    def test_two_of_them(self):
        image = self.full()
        places = sorted([self.drop(image, 1), self.drop(image, 3)])
        found = self.signs(image)["table_lost"]
        self.assertEqual([(f["offset"], f["guest_offset"], f["guest_bytes"]) for f in found],
                         [(at, None, SPAN) for at in places])
        self.assertIn(f"; {SPAN:#x} guest bytes may be lost\n", qbatch.qbatch("check", image).result.out)

    def test_a_table_that_is_zeros_too(self):
        image = self.full()
        at = self.drop(image, 1)
        qcow2.patch(image, at, bytes(CLUSTER))
        self.counts_as_qemu(image)
        found = self.signs(image)["table_lost"]
        self.assertEqual([(f["offset"], f["guest_offset"]) for f in found], [(at, SPAN)])
        self.assertIn("a stretch of 513 leaked clusters", found[0]["message"])

    def test_a_table_that_was_overwritten_with_zeros(self):
        image = self.full()
        qcow2.patch(image, self.table(image, 1), bytes(CLUSTER))
        self.counts_as_qemu(image)
        self.assertEqual([(f["guest_offset"], f["guest_bytes"]) for f in self.signs(image)["table_lost"]], [(SPAN, SPAN)])

    def test_other_leaks_are_no_lost_table(self):
        image = self.full()
        live = self.table(image, 1)
        with open(image, "rb") as f:
            f.seek(live)
            copy = f.read(CLUSTER)
        lost = qcow2.append_cluster(image, b"leak")
        almost = (qcow2.COPIED | lost).to_bytes(8, "big") + b"and what no entry can be"
        for data in (b"guest", b"", os.urandom(CLUSTER), copy, almost):  # the copy names clusters that are in use
            qcow2.append_cluster(image, data)
        self.assertEqual(self.signs(image), {})
        shorter = self.create("shorter", size="8M", cluster_size=CLUSTER)
        self.io(shorter, f"write -q -P 1 0 {SPAN - CLUSTER}")
        qcow2.patch(shorter, self.drop(shorter, 0), bytes(CLUSTER))  # 511 clusters, and the table
        qcow2.set_refcount(shorter, os.path.getsize(shorter) // CLUSTER - 1, 0)
        self.assertEqual(self.signs(shorter), {})

    # ---- entries that name the header ---------------------------------------------------------
    def test_an_l2_entry_that_names_the_header(self):
        image = self.full()
        place = qcow2.load(image).l2_entry_offset(MIB)
        qcow2.patch_u64(image, place, qcow2.COPIED)
        self.counts_as_qemu(image)
        self.assertEqual([f["offset"] for f in self.signs(image)["entry_names_header"]], [place])

    def test_an_l1_entry_that_names_the_header(self):
        image = self.create(size="8M", cluster_size=CLUSTER)
        place = qcow2.load(image).l1_table_offset + 8
        qcow2.patch_u64(image, place, qcow2.COPIED)  # QEMU's check reads the header as a table; its guests do not
        self.assertEqual([f["offset"] for f in self.signs(image)["entry_names_header"]], [place])
        self.assert_reads(image, SPAN, SPAN, 0)
        done = qbatch.qbatch("check", image, image)  # it is without errors, and shown all the same
        self.assertEqual(done.code, 0)
        self.assertIn("Sign: L1 entry 0x8000000000000000 has COPIED set, and names the header", done.result.out)

    def test_sound_images_have_no_signs(self):
        image = self.create(size="8M", cluster_size=CLUSTER)
        self.io(image, "write -q -P 1 0 6M")
        self.snapshot(image, "one")
        self.io(image, "write -q -z 0 1M", "discard -q 2M 3M", "write -q -c -P 3 6M 64k")
        self.assertEqual(self.signs(image), {})


if __name__ == "__main__":
    main()
