package e2e

import (
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// A person's link sets a parameter. The app that starts for them has it, as an argument
// without which it would not run, and in its environment. A value that the job does not
// allow is refused at the page.
func TestParamsReachTheApp(t *testing.T) {
	ctx := testkit.Context(t, 2*time.Minute)
	app := runApp(ctx, t, map[string]string{
		"params": `[{"name":"color","pattern":"black|white|#[0-9a-f]{6}"},{"name":"key","secret":true}]`,
		"start":  "claim", "warm": "1", "max": "2",
		"args": "-fps 30 -print-env -color {{param.color}}",
	})
	testkit.Must(t, site.WaitIdle(ctx, app))
	page := open(ctx, t, app+"?param.color=%23102030")
	play(ctx, t, page)
	appOutput(ctx, t, app, `"NEARCAST_PARAM_COLOR=#102030"`)
	appOutput(ctx, t, app, `"ready"`)
	leave(ctx, t, page)

	page = open(ctx, t, app+"?param.color=red")
	testkit.Must(t, page.Click(ctx, ".play-button"))
	testkit.Must(t, page.Until(ctx, "nearcast.state === 'refused' && document.body.innerText.includes('does not match')"))
}
