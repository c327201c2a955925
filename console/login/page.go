package login

import (
	"html/template"
	"net/http"

	"github.com/nearcast/nearcast/internal/wire"
)

// pages are those of the login. They have no script, and their style is the console's.
var pages = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Nearcast console: log in</title>
<link rel="icon" href="/assets/favicon.svg">
<link rel="stylesheet" href="/assets/css/login.css">
<main>
<h1>Nearcast console</h1>
{{with .Wrong}}<p role="alert">{{.}}</p>{{end}}
{{with .Said}}<p>{{.}}</p>{{end}}
{{if .Form}}<form method="post" action="/console/login">
<input type="hidden" name="next" value="{{.Next}}">
<label>Token <input type="password" name="token" autocomplete="current-password" required autofocus></label>
<button>Log in</button>
</form>
<p>It is the console's token: see docs/CONSOLE-SETUP.md. A development site prints it when it starts.</p>
{{else}}<p><a href="/console/login?next={{.Next}}">Log in again</a></p>
{{end}}</main>
</html>
`))

type page struct {
	Wrong, Said, Next string
	Form              bool
}

// LoggedOut shows that a person has logged out, and leads to no login by itself: a provider that
// still knows them would log them in again at once.
func LoggedOut(rw http.ResponseWriter, _ *http.Request) {
	page{Next: wire.ConsolePath, Said: "You have logged out of the console. The login provider, if there is one, may know you still."}.write(rw, http.StatusOK)
}

func (p page) write(rw http.ResponseWriter, status int) {
	h := rw.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	rw.WriteHeader(status)
	_ = pages.Execute(rw, p) // the caller may be gone
}
