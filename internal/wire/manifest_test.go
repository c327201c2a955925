package wire

import (
	"strings"
	"testing"
)

func TestManifestIsNamedByItsFiles(t *testing.T) {
	a := ManifestFile{Path: "a", Size: 1, SHA256: strings.Repeat("ab", 32)}
	b := ManifestFile{Path: "b/c", Size: 2, SHA256: strings.Repeat("cd", 32), Mode: ModeProgram}
	text, sum, err := NewManifest([]ManifestFile{b, a})
	if err != nil {
		t.Fatal(err)
	}
	// The name of a version is in jobs: it stays the same in later releases.
	const want = `{"nearcast_manifest":1,"files":[{"path":"a","size":1,"sha256":"abababababababababababababababababababababababababababababababab"},` +
		`{"path":"b/c","size":2,"sha256":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","mode":"0755"}]}`
	if string(text) != want {
		t.Errorf("the manifest is %s", text)
	}
	m, err := ParseManifest(text)
	if err != nil || len(m.Files) != 2 || m.Files[0] != a || m.Files[1] != b {
		t.Errorf("read %+v, %v", m, err)
	}
	if got, err := ManifestSum("sha256:" + strings.ToUpper(sum)); err != nil || got != sum {
		t.Errorf("the name is %q, %v", got, err)
	}
}

func TestManifestRefuses(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	file := func(path string) string { return `{"path":"` + path + `","size":1,"sha256":"` + sum + `"}` }
	size := func(path, size string) string {
		return `{"path":"` + path + `","size":` + size + `,"sha256":"` + sum + `"}`
	}
	for name, files := range map[string]string{
		"nothing":          ``,
		"a parent":         file("../x"),
		"a hidden parent":  file("a/../../x"),
		"absolute":         file("/etc/passwd"),
		"the folder":       file("."),
		"no path":          file(""),
		"a zero byte":      file(`a\u0000`),
		"a path twice":     file("a") + "," + file("a"),
		"no order":         file("b") + "," + file("a"),
		"no sha256":        `{"path":"a","size":1,"sha256":"ab"}`,
		"a path as sha":    `{"path":"a","size":1,"sha256":"` + strings.Repeat("../x", 16) + `"}`,
		"a negative size":  `{"path":"a","size":-1,"sha256":"` + sum + `"}`,
		"a setuid mode":    `{"path":"a","size":1,"sha256":"` + sum + `","mode":"4755"}`,
		"a file as folder": file("a") + "," + file("a-b") + "," + file("a/b"),
		"a file far above": file("a") + "," + file("a/b/c/d"),
		"too many bytes":   size("a", "1125899906842624") + "," + size("b", "1"),
		"an overflow":      size("a", "9223372036854775807") + "," + size("b", "9223372036854775807"),
	} {
		if m, err := ParseManifest([]byte(`{"nearcast_manifest":1,"files":[` + files + `]}`)); err == nil {
			t.Errorf("%s: read %+v", name, m)
		}
	}
	// The file of an old archive, in another encoding. Two of them may be one name in JSON.
	for _, names := range [][]string{{"caf\xe9.dat"}, {"a\xfe", "a\xff"}} {
		var files []ManifestFile
		for _, name := range names {
			files = append(files, ManifestFile{Path: name, SHA256: sum})
		}
		if text, _, err := NewManifest(files); err == nil || !strings.Contains(err.Error(), "not UTF-8") || !strings.Contains(err.Error(), `\x`) {
			t.Errorf("%q: %s, %v", names, text, err)
		}
	}
	if _, err := ParseManifest([]byte(`{"nearcast_manifest":2,"files":[` + file("a") + `]}`)); err == nil {
		t.Error("a manifest of another format was read")
	}
	for _, name := range []string{"", sum, "sha256:", "sha256:" + sum[2:], "sha256:" + strings.Repeat("zz", 32), "md5:" + sum} {
		if got, err := ManifestSum(name); err == nil {
			t.Errorf("%q was read as %q", name, got)
		}
	}
}
