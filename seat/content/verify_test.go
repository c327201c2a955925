package content

import (
	"encoding/base64"
	"encoding/hex"
	"testing"
)

// Each algorithm's sum of "123456789", from the catalogue of CRCs and the standards.
func TestAlgorithms(t *testing.T) {
	for name, want := range map[string]string{
		"crc32": "cbf43926", "crc32c": "e3069283", "crc64nvme": "ae8b14860a799888", "md5": "25f9e794323b453885f5181f1b624d0b",
		"sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	} {
		raw, err := hex.DecodeString(want)
		if err != nil {
			t.Fatal(err)
		}
		sums := checksums{name: base64.StdEncoding.EncodeToString(raw)}
		got, h := sums.strongest()
		if got != name || h == nil {
			t.Errorf("%s: %s is computed", name, got)
			continue
		}
		h.Write([]byte("123456789"))
		if err := (file{}).check(sums, h); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		h.Write([]byte("0"))
		if (file{}).check(sums, h) == nil {
			t.Errorf("%s: other bytes are taken for the same", name)
		}
	}
}
