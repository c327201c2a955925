package main

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// matrix is measured round trips between places, in milliseconds, row to
// column; not a number where none was measured.
type matrix struct {
	name string
	rtt  [][]float64
}

// maxPlaces bounds a matrix: what is done with it grows with the cube.
const maxPlaces = 5000

// readMatrix reads a CSV: header "id,<id…>", then one row a source in the order
// of the header: its id, and a round trip a column. An empty field, "nan" or a
// negative number is a missing one; the diagonal is not looked at.
func readMatrix(path string) (*matrix, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read matrix: %w", err)
	}
	defer f.Close()
	var in io.Reader = f
	name := filepath.Base(path)
	if plain, ok := strings.CutSuffix(name, ".gz"); ok {
		name = plain
		if in, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("read matrix %s: %w", path, err)
		}
	}
	name = strings.TrimSuffix(name, filepath.Ext(name))
	m, err := parseMatrix(strings.TrimSuffix(name, "_rtt_ms"), in)
	if err != nil {
		return nil, fmt.Errorf("read matrix %s: %w", path, err)
	}
	return m, nil
}

func parseMatrix(name string, r io.Reader) (*matrix, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord = -1
	in.TrimLeadingSpace = true
	head, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New(`it is empty; the first line must be "id,<id>,<id>,…"`)
	}
	if err != nil {
		return nil, err
	}
	n := len(head) - 1
	if n < 4 || n > maxPlaces {
		return nil, fmt.Errorf(`the header names %d places, not 4 to %d; it must be "id,<id>,<id>,…"`, max(n, 0), maxPlaces)
	}
	known := make(map[string]bool, n)
	for i, id := range head[1:] {
		head[i+1] = strings.TrimSpace(id)
		if known[head[i+1]] {
			return nil, fmt.Errorf("column %d: the header names %q twice", i+2, head[i+1])
		}
		known[head[i+1]] = true
	}
	m := &matrix{name: name}
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := in.FieldPos(0)
		at := len(m.rtt)
		if at == n {
			return nil, fmt.Errorf("line %d: more rows than the %d columns of the header", line, n)
		}
		if len(row) != n+1 {
			return nil, fmt.Errorf("line %d has %d fields, the header has %d", line, len(row), n+1)
		}
		if id := strings.TrimSpace(row[0]); id != head[at+1] {
			return nil, fmt.Errorf("line %d is of %q, but the header's order asks for %q here", line, id, head[at+1])
		}
		values := make([]float64, n)
		for i, field := range row[1:] {
			v, err := parseRTT(field)
			if err != nil {
				return nil, fmt.Errorf("line %d, column %d (%s): %w", line, i+2, head[i+1], err)
			}
			values[i] = v
		}
		values[at] = 0
		m.rtt = append(m.rtt, values)
	}
	if len(m.rtt) != n {
		return nil, fmt.Errorf("%d rows for the %d columns of the header", len(m.rtt), n)
	}
	if m.missing() > 0.9 {
		return nil, errors.New("more than nine of ten round trips are missing")
	}
	return m, nil
}

func parseRTT(field string) (float64, error) {
	field = strings.TrimSpace(field)
	if field == "" {
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(field, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of milliseconds", field)
	}
	if math.IsInf(v, 0) || v > 1e6 {
		return 0, fmt.Errorf("%q is no round trip", field)
	}
	if v < 0 {
		return math.NaN(), nil
	}
	return v, nil
}

// missing is the part of the round trips that are.
func (m *matrix) missing() float64 {
	n, gone := len(m.rtt), 0
	for a := range n {
		for b := range n {
			if math.IsNaN(m.rtt[a][b]) {
				gone++
			}
		}
	}
	return float64(gone) / float64(n*n)
}

// between is the round trip from a to b: as measured, else as measured the other
// way; not a number where neither was.
func (m *matrix) between(a, b int) float64 {
	if v := m.rtt[a][b]; !math.IsNaN(v) {
		return v
	}
	return m.rtt[b][a]
}
