package platform_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRunbooks: each alert names a heading of docs/RUNBOOKS.md that is there, and each heading there
// is of an alert.
func TestRunbooks(t *testing.T) {
	alerts, err := os.ReadFile("observability/alerts.yml")
	book, err2 := os.ReadFile("../../docs/RUNBOOKS.md")
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	var names, links, headings []string
	for _, m := range regexp.MustCompile(`(?m)- alert: (\S+)$`).FindAllStringSubmatch(string(alerts), -1) {
		names = append(names, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)runbook_url: \S+/docs/RUNBOOKS\.md#(\S+)$`).FindAllStringSubmatch(string(alerts), -1) {
		links = append(links, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^## (\S+)$`).FindAllStringSubmatch(string(book), -1) {
		headings = append(headings, m[1])
	}
	if len(names) < 10 || !slices.Equal(names, headings) {
		t.Errorf("the alerts are\n%q, and the headings\n%q", names, headings)
	}
	for i, name := range names {
		if i >= len(links) || links[i] != strings.ToLower(name) {
			t.Errorf("%s does not link to its heading", name)
		}
	}
}

// TestDashboards: each is a whole one of Grafana's, with panels that have ids and places of their own.
// bench/site runs their queries.
func TestDashboards(t *testing.T) {
	files, err := filepath.Glob("observability/*.json")
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	uids := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			UID, Title string
			Panels     []struct {
				ID      int
				Title   string
				GridPos struct{ X, Y, W, H int }
				Targets []struct{ Expr, RefID, LegendFormat string }
			}
			Templating struct{ List []struct{ Name string } }
		}
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if board.UID == "" || uids[board.UID] || board.Title == "" || len(board.Panels) < 10 {
			t.Errorf("%s: %q %q with %d panels", file, board.UID, board.Title, len(board.Panels))
		}
		uids[board.UID] = true
		taken, variables := map[any]bool{}, map[string]bool{"__rate_interval": true}
		for _, v := range board.Templating.List {
			variables[v.Name] = true
		}
		for _, p := range board.Panels {
			if p.Title == "" || len(p.Targets) == 0 || taken[p.ID] || taken[p.GridPos] || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: panel %d %q", file, p.ID, p.Title)
			}
			taken[p.ID], taken[p.GridPos] = true, true
			for _, target := range p.Targets {
				for _, m := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
					if !variables[m[1]] {
						t.Errorf("%s: %q asks for $%s, which is no variable", file, p.Title, m[1])
					}
				}
			}
		}
	}
}
