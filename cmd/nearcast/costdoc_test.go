package main

import (
	"go/constant"
	"go/token"
	"go/types"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestCost adds up the tables of docs/COST.md: each row's arithmetic with the prices above it, and the
// sums of the rows.
func TestCost(t *testing.T) {
	text, err := os.ReadFile("../../docs/COST.md")
	testkit.Must(t, err)
	prices := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z][0-9]?)` \\| [^|]+ \\| ([0-9.+ ]+) \\|").FindAllStringSubmatch(string(text), -1) {
		prices[m[1]] = "(" + m[2] + ")"
	}
	if len(prices) < 15 {
		t.Fatalf("%d prices were found", len(prices))
	}
	symbol := regexp.MustCompile("`([A-Z][0-9]?)`")
	evaluate := func(expression string) float64 {
		t.Helper()
		expression = symbol.ReplaceAllStringFunc(expression, func(s string) string { return prices[strings.Trim(s, "`")] })
		expression = strings.NewReplacer("×", "*", "÷", "/", "−", "-").Replace(expression)
		value, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expression)
		if err != nil {
			t.Fatalf("%q: %v", expression, err)
		}
		f, _ := constant.Float64Val(constant.ToFloat(value.Value))
		return f
	}
	usd := func(cell string) float64 {
		t.Helper()
		f, err := strconv.ParseFloat(strings.NewReplacer("*", "", "−", "-").Replace(cell), 64)
		testkit.Must(t, err)
		return f
	}
	sums := 0
	for _, table := range strings.Split(string(text), "| what | how many | arithmetic | USD |\n|---|---|---|---|\n")[1:] {
		total, over := 0.0, false
		for line := range strings.Lines(table) {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			if len(cells) != 4 {
				break
			}
			what, arithmetic, said := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[2]), usd(strings.TrimSpace(cells[3]))
			if strings.HasPrefix(what, "**") {
				sums++
				if over = true; math.Abs(total-said) > 0.005 {
					t.Errorf("the sum is %.2f, and not %.2f", total, said)
				}
				continue
			}
			for _, side := range strings.Split(arithmetic, " = ") {
				if side == "" {
					continue
				}
				if got := evaluate(side); math.Abs(got-said) > 0.0051 {
					t.Errorf("%s: %s is %.3f, and not %.2f", what, side, got, said)
				}
			}
			if !over { // what comes after is not in the sum
				total += said
			}
		}
	}
	// Options that make it cheaper are there, and the prices are of the types that are the default.
	variables, err := os.ReadFile("../../terraform/variables.tf")
	testkit.Must(t, err)
	options := regexp.MustCompile("(?m)^\\| `([a-z_0-9]+)`:").FindAllStringSubmatch(string(text), -1)
	if len(options) == 0 {
		t.Error("no option makes it cheaper")
	}
	for _, option := range options {
		if !strings.Contains(string(variables), `variable "`+option[1]+`"`) {
			t.Errorf("Terraform has no variable %s", option[1])
		}
	}
	for symbol, variable := range map[string]string{"S": "server_type", "E": "edge_type"} {
		_, after, _ := strings.Cut(string(variables), `variable "`+variable+`"`)
		_, after, _ = strings.Cut(after, `default     = "`)
		if kind, _, _ := strings.Cut(after, `"`); !strings.Contains(string(text), "| `"+symbol+"` | "+kind+", an hour |") {
			t.Errorf("the price %s is not that of %s, the default of %s", symbol, kind, variable)
		}
	}
	if sums != 2 {
		t.Errorf("%d tables have a sum", sums)
	}
}
