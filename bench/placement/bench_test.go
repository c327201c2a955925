package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseMatrix(t *testing.T) {
	m, err := parseMatrix("x", strings.NewReader("id, a,b,c,d\na,0,10,20,\nb,11,0,nan,-1\nc,21,31,7,40\nd,1e1,2,3,0\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		a, b int
		want float64
	}{{0, 1, 10}, {1, 0, 11}, {2, 2, 0}, {0, 3, 10}, {1, 2, 31}, {1, 3, 2}} {
		if got := m.between(tt.a, tt.b); got != tt.want {
			t.Errorf("%d to %d: %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestParseMatrixRefuses(t *testing.T) {
	rows := "a,0,1,1,1\nb,1,0,1,1\nc,1,1,0,1\n"
	for name, tt := range map[string]struct{ csv, want string }{
		"nothing":        {"", "it is empty"},
		"no places":      {"id\n", "names 0 places"},
		"too few":        {"id,a,b\na,0,1\nb,1,0\n", "names 2 places"},
		"twice":          {"id,a,b,a,d\n", `"a" twice`},
		"a word":         {"id,a,b,c,d\n" + rows + "d,1,far,1,0\n", `line 5, column 3 (b): "far" is not a number`},
		"infinite":       {"id,a,b,c,d\n" + rows + "d,1,inf,1,0\n", `"inf" is no round trip`},
		"short row":      {"id,a,b,c,d\n" + rows + "d,1\n", "line 5 has 2 fields, the header has 5"},
		"rows missing":   {"id,a,b,c,d\n" + rows, "3 rows for the 4 columns"},
		"rows too many":  {"id,a,b,c,d\n" + rows + "d,1,1,1,0\ne,1,1,1,0\n", "line 6: more rows"},
		"other order":    {"id,a,b,c,d\n" + rows + "x,1,1,1,0\n", `line 5 is of "x", but the header's order asks for "d"`},
		"a broken quote": {"id,a,b,c,d\n\"a,0", "extraneous or missing"},
		"all missing":    {"id,a,b,c,d,e,f,g,h,i,j,k,l\n" + empty("abcdefghijkl"), "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseMatrix("x", strings.NewReader(tt.csv))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func empty(ids string) string {
	var out strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&out, "%c%s\n", id, strings.Repeat(",", len(ids)))
	}
	return out.String()
}

// line world: places along a line, two ms apart, with every twentieth missing.
func lineCSV(n int) string {
	var out strings.Builder
	out.WriteString("id")
	for i := range n {
		fmt.Fprintf(&out, ",p%d", i)
	}
	for i := range n {
		fmt.Fprintf(&out, "\np%d", i)
		for j := range n {
			if (i*n+j)%20 == 7 {
				out.WriteString(",")
				continue
			}
			fmt.Fprintf(&out, ",%d", 2*max(i-j, j-i))
		}
	}
	return out.String()
}

// TestSeeded runs the whole of regret, gzipped data included, twice.
func TestSeeded(t *testing.T) {
	dir := t.TempDir()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := io.WriteString(z, lineCSV(60)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "line_rtt_ms.csv.gz"), zipped.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	svg := filepath.Join(dir, "r.svg")
	run := func() string {
		var out bytes.Buffer
		b := &bench{report: newReport(&out), seed: 5, splits: 2, people: 8, sizes: []int{20}}
		if err := b.read([]string{dir}); err != nil {
			t.Fatal(err)
		}
		if err := b.takeRegret(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := b.takeDoubts(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := b.picture(svg); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	first := run()
	if first != run() {
		t.Error("one seed, two results")
	}
	seen := map[string]float64{}
	dec := json.NewDecoder(strings.NewReader(first))
	for {
		var row map[string]any
		if err := dec.Decode(&row); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if row["measure"] == "regret" {
			key := fmt.Sprint(row["method"], row["probes"])
			seen[key] = max(seen[key], row["perfect"].(float64))
		}
	}
	if seen["all20"] < 0.3 || seen["random0"] > seen["all20"] || seen["adaptive8"] < seen["random0"] || seen["race20"] == 0 || seen["memory4"] == 0 {
		t.Errorf("shares of perfect choices: %v", seen)
	}
	text, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(text, new(struct{ XMLName xml.Name })); err != nil {
		t.Errorf("the picture: %v", err)
	}
}

func TestFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"name at least one matrix": {},
		"no such file":             {"absent.csv"},
		"no *_rtt_ms.csv in":       {t.TempDir()},
		"there is no measure":      {"-only", "luck", "x"},
		"-sites":                   {"-sites", "many", "x"},
		"at least 1":               {"-splits", "0", "x"},
	} {
		if err := run(context.Background(), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q in it", args, err, want)
		}
	}
}
