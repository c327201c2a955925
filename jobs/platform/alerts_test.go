package platform_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// figures are series of a site, with a value for each minute as promtool writes them.
type figures map[string]string

// histogram has one observation a second, of value.
func histogram(name string, value float64) figures {
	out := figures{}
	for _, le := range []float64{.005, .01, .033, .05, .1, .2, .5} {
		n := 0
		if value <= le {
			n = 60
		}
		out[fmt.Sprintf(`%s_bucket{site="dc1",app="a",pool="p",le="%g"}`, name, le)] = fmt.Sprintf("0+%dx30", n)
	}
	out[name+`_bucket{site="dc1",app="a",pool="p",le="+Inf"}`] = "0+60x30"
	return out
}

// wellSite is a site where nothing is wrong. Something was, half an hour ago.
func wellSite() figures {
	out := figures{
		`up{job="nearcast",part="brain",instance="b1",site="dc1"}`:                   "1x30",
		`up{job="nearcast",part="router",instance="r1",site="dc1"}`:                  "1x30",
		`nearcast_brain_leader{instance="b1",site="dc1"}`:                            "1x30",
		`nearcast_brain_leader{instance="b2",site="dc1"}`:                            "0x30",
		`nearcast_brain_paused{instance="b1",site="dc1"}`:                            "0x30",
		`nearcast_router_view_age_seconds{instance="r1",site="dc1"}`:                 "3x30",
		`nearcast_router_site_healthy{instance="r1",site="dc1",exported_site="dc2"}`: "1x30",
		`nearcast_router_requests_total{site="dc1",code="200"}`:                      "0+100x30",
		`nearcast_router_requests_total{site="dc1",code="503"}`:                      "0+1x30",
		`nearcast_brain_start_failures_total{site="dc1",app="a",instance="b1"}`:      "7x30",
		`nearcast_brain_sick_seats_total{site="dc1",node="n1",instance="b1"}`:        "7x30",
		`nearcast_brain_waiting{site="dc1",app="a",instance="b1"}`:                   "0x30",
	}
	for name, value := range map[string]float64{"nearcast_session_loss_ratio": .005, "nearcast_session_encode_seconds": .01, "nearcast_session_page_frozen_ratio": .01} {
		maps.Copy(out, histogram(name, value))
	}
	return out
}

// TestAlerts has promtool look at sites after 25 minutes: each alert fires where its fault is, alone,
// and none at a site where nothing is wrong.
func TestAlerts(t *testing.T) {
	promtool := testkit.Tool(t, "promtool")
	rules, err := filepath.Abs("observability/alerts.yml")
	testkit.Must(t, err)
	var out strings.Builder
	fmt.Fprintf(&out, "rule_files: [%q]\nevaluation_interval: 1m\ntests:\n", rules)
	fires := map[string]bool{}
	site := func(alert string, lacks string, has figures) {
		all := wellSite()
		maps.DeleteFunc(all, func(name, _ string) bool { return lacks != "" && strings.HasPrefix(name, lacks) })
		maps.Copy(all, has)
		fmt.Fprintf(&out, "  - name: %q\n    interval: 1m\n    input_series:\n", alert)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			fmt.Fprintf(&out, "      - { series: '%s', values: '%s' }\n", name, all[name])
		}
		want := "[]"
		if alert != "" {
			fires[alert] = true
			want = fmt.Sprintf(`[{ labels: '{alertname="%s"}', value: 1 }]`, alert)
		}
		fmt.Fprintf(&out, "    promql_expr_test:\n      - { expr: 'count by (alertname) (ALERTS{alertstate=\"firing\"})', eval_time: 25m, exp_samples: %s }\n", want)
	}
	site("", "", nil)
	site("NearcastPartDown", "", figures{`up{job="nearcast",part="brain",instance="b2",site="dc1"}`: "0x30"})
	site("NearcastNoBrain", `up{job="nearcast",part="brain"`, nil)
	site("NearcastNoRouter", `up{job="nearcast",part="router"`, nil)
	site("NearcastNoLeader", "", figures{`nearcast_brain_leader{instance="b1",site="dc1"}`: "0x30"})
	site("NearcastPaused", "", figures{`nearcast_brain_paused{instance="b1",site="dc1"}`: "1x30"})
	site("NearcastViewStale", "", figures{`nearcast_router_view_age_seconds{instance="r1",site="dc1"}`: "0+60x30"})
	site("NearcastSiteUnreachable", "", figures{`nearcast_router_site_healthy{instance="r1",site="dc1",exported_site="dc2"}`: "0x30"})
	site("NearcastRouterErrors", "", figures{`nearcast_router_requests_total{site="dc1",code="503"}`: "0+5x30"})
	// What happens for the first time makes a series, and counts; what happens again counts too.
	site("NearcastSeatsFailToStart", "", figures{`nearcast_brain_start_failures_total{site="dc1",app="b",instance="b1"}`: "_x20 4x10"})
	site("NearcastSeatsFailToStart", "", figures{`nearcast_brain_start_failures_total{site="dc1",app="a",instance="b1"}`: "7x19 12x10"})
	site("NearcastNodeSick", "", figures{`nearcast_brain_sick_seats_total{site="dc1",node="n2",instance="b1"}`: "_x20 1x10"})
	site("NearcastNodeSick", "", figures{`nearcast_brain_sick_seats_total{site="dc1",node="n1",instance="b1"}`: "7x19 8x10"})
	site("NearcastPeopleWait", "", figures{`nearcast_brain_waiting{site="dc1",app="a",instance="b1"}`: "2x30"})
	site("NearcastNetworkPoor", "", histogram("nearcast_session_loss_ratio", .08))
	site("NearcastEncoderSlow", "", histogram("nearcast_session_encode_seconds", .05))
	site("NearcastPictureFreezes", "", histogram("nearcast_session_page_frozen_ratio", .15))

	file := filepath.Join(t.TempDir(), "tests.yml")
	testkit.Must(t, os.WriteFile(file, []byte(out.String()), 0o600))
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v: %s", err, out)
	}
	text, err := os.ReadFile(rules)
	testkit.Must(t, err)
	if n := strings.Count(string(text), "- alert: "); n != len(fires) {
		t.Errorf("%d alerts, and %d of them fire here", n, len(fires))
	}
}
