"""Images on block devices: the file can neither grow nor shrink."""
import os
import re

import context  # noqa: F401
import proc
import qbatch
import qcow2
from fixture import MIB, main
from loop_device import SECTOR, LoopTest


class BlockDevices(LoopTest):
    def test_a_downgrade_uses_what_is_free_on_the_device_and_never_old_bytes(self):
        device = self.on_device(self.overlay(), 16 * MIB)
        before = self.layers(device)
        for mode in ("share", "allocate"):
            with self.subTest(zero_clusters=mode):
                device = self.on_device(self.path("a.qcow2"), 16 * MIB)
                answer = qbatch.amend(device, compat="0.10", zero_clusters=mode)
                self.assertEqual(answer.code, 0, str(answer))
                self.assert_same_layers(before, self.layers(device))

    def test_a_header_change_is_one_sector_there_too(self):
        device = self.on_device(self.overlay(), 8 * MIB)
        answer = qbatch.amend(device, lazy_refcounts="on")
        self.assertEqual((answer.code, answer.first["io"]["write_bytes"]), (0, 512), str(answer))

    def test_a_device_without_room_is_known_before_the_first_write(self):
        image = self.overlay()
        size = -(-os.path.getsize(image) // 65536) * 65536
        device = self.on_device(image, size)
        sha = proc.sha256(device)
        answer = qbatch.amend(device, compat="0.10", zero_clusters="allocate")
        self.assertEqual((answer.code, answer.error), (1, "no_space"), str(answer))
        self.assertEqual(proc.sha256(device), sha)
        self.assertEqual(qcow2.load(device).version, 3)

    def test_the_growth_that_a_policy_allows_is_what_is_taken_past_the_end(self):
        device = self.on_device(self.overlay(), 16 * MIB)
        end = qbatch.qbatch("check", "--json", device).first["image_end_offset"]
        growth = qbatch.amend(device, flags=["--dry-run"], refcount_bits=64).first["image_end_offset"] - end
        for most, code in (growth - 1, 1), (growth, 0):
            answer = self.run_manifest(f"""
                version: 1
                policy: {{max_growth: {most}}}
                images: [{{path: {device}, refcount_bits: 64}}]
                """)
            self.assertEqual((answer.code, answer.error), (code, "no_space" if code else None),
                             str(answer))

    def test_what_a_device_lacks_is_told_to_the_byte(self):
        """Devices of odd lengths: a sector less than that is still too little, and that is enough."""
        image = self.overlay()
        clusters = -(-os.path.getsize(image) // 65536)
        for more in (0, 1, 511, 512, 65536 + 513, 3 * 65536 - 1):
            with self.subTest(more):
                size = clusters * 65536 + more
                device = self.on_device(image, size)
                answer = qbatch.amend(device, compat="0.10", zero_clusters="allocate")
                self.assertEqual((answer.code, answer.error), (1, "no_space"), str(answer))
                message = answer.first["error"]["message"]
                lacks = int(re.search(r"needs (\d+) bytes more", message).group(1))
                self.assertIn(f"lvextend -L+{lacks}b", message)
                size = size // SECTOR * SECTOR  # the device's
                self.assertEqual(answer.first["image_end_offset"], size + lacks)
                self.lengthen(device, lacks - SECTOR + size - os.path.getsize(self.path("disk")))
                answer = qbatch.amend(device, compat="0.10", zero_clusters="allocate")
                self.assertIn(f"needs {SECTOR} bytes more", answer.first["error"]["message"])
                self.lengthen(device, SECTOR)
                answer = qbatch.amend(device, compat="0.10", zero_clusters="allocate")
                self.assertEqual(answer.code, 0, str(answer))
                self.assertEqual(answer.first["image_end_offset"], size + lacks)
                self.layers(device)


if __name__ == "__main__":
    main()
