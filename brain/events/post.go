package events

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/internal/wire"
)

// What is asked of an endpoint.
const (
	answerWithin = 15 * time.Second
	maxAnswer    = 4 << 10
	maxHeaders   = 16 << 10
)

// NewSecret makes a secret of a webhook: 256 bits.
func NewSecret() string {
	return "whsec_" + base64.StdEncoding.EncodeToString(randomBytes(32))
}

// NewID makes the id of a webhook.
func NewID() string { return fmt.Sprintf("%x", randomBytes(8)) }

// ValidID reports whether an id has the form of a webhook's.
func ValidID(id string) bool { return len(id) == 16 && strings.Trim(id, "0123456789abcdef") == "" }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails; see its documentation
	return b
}

// CheckURL says what is wrong with the URL of a webhook. private is where a site's endpoints may have
// private addresses, and so no TLS.
func CheckURL(text string, private bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return fmt.Errorf("%.200q is no URL such as https://shop.example/hooks", text)
	case len(text) > wire.MaxWebhookURL:
		return fmt.Errorf("a URL has %d bytes at most", wire.MaxWebhookURL)
	case u.Scheme != "https" && !(private && u.Scheme == "http"):
		return fmt.Errorf("the URL has to begin with https://, not %s://", u.Scheme)
	case u.User != nil:
		return errors.New("the URL may have no name or password: Consul and logs show it; the signature says who sends")
	case u.Fragment != "":
		return errors.New("the URL may have no fragment")
	}
	if address, err := netip.ParseAddr(u.Hostname()); err == nil && !private && !public(address) {
		return fmt.Errorf("%s is no public address", address)
	}
	return nil
}

// reserved are what IsGlobalUnicast and IsPrivate take for public: shared address space, tests of
// networks, documentation, what leads to IPv4 in disguise, the future, and what Azure has for its machines alone.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"),
}

// public reports whether an address is anybody's: not of this machine, its networks or its cloud.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(reserved, func(p netip.Prefix) bool { return p.Contains(a) })
}

// errPrivate refuses an endpoint.
var errPrivate = errors.New("the endpoint's address is not public")

// newClient makes the client for endpoints. What counts is the address that is dialled: what a name
// resolves to may change from one look to the next.
func newClient(private bool) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	if !private {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			if to, err := netip.ParseAddrPort(address); err != nil || !public(to.Addr()) {
				return errPrivate
			}
			return nil
		}
	}
	return &http.Client{
		Timeout:       answerWithin,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{ // no proxy: it would dial in place of the dialer
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: answerWithin,
			MaxResponseHeaderBytes: maxHeaders, DisableCompression: true, MaxIdleConns: 128, MaxIdleConnsPerHost: perWebhook,
			IdleConnTimeout: time.Minute,
		},
	}
}

// sign gives the signatures of a message by each secret that is in force.
func sign(hook wire.Webhook, id string, at time.Time, body []byte) (string, error) {
	var all []string
	for i, s := range hook.Secrets {
		if i >= wire.MaxWebhookSecrets || i > 0 && !s.Until.IsZero() && at.After(s.Until) {
			continue
		}
		key, err := webhooks.NewWebhook(s.Secret)
		if err != nil {
			return "", errors.New("a secret of the webhook is not whsec_ and base64") // and not a part of it
		}
		one, err := key.Sign(id, at, body)
		if err != nil {
			return "", fmt.Errorf("sign: %w", err)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return "", errors.New("the webhook has no secret")
	}
	return strings.Join(all, " "), nil
}

// refusal is an answer that is not 2xx.
type refusal struct {
	status int
	after  time.Duration // that the endpoint asks to wait; 0 where it does not
}

func (r refusal) Error() string {
	if r.status >= 300 && r.status < 400 {
		return fmt.Sprintf("it answered %d, and redirects are not followed", r.status)
	}
	return fmt.Sprintf("it answered %d", r.status)
}

// post sends a message once.
func post(ctx context.Context, client *http.Client, hook wire.Webhook, id string, body []byte, private bool) error {
	if err := CheckURL(hook.URL, private); err != nil {
		return err
	}
	at := time.Now()
	signature, err := sign(hook, id, at, body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.URL, strings.NewReader(string(body)))
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	req.Header.Set("Content-Type", wire.EventContentType+"; charset=utf-8")
	req.Header.Set("User-Agent", "nearcast/"+version.String())
	req.Header.Set(webhooks.HeaderWebhookID, id)
	req.Header.Set(webhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(webhooks.HeaderWebhookSignature, signature)
	res, err := client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, which may name a secret in its query
		}
		if errors.Is(err, errPrivate) {
			return errPrivate
		}
		return fmt.Errorf("it cannot be reached: %w", err)
	}
	defer res.Body.Close()
	io.CopyN(io.Discard, res.Body, maxAnswer) // so that the connection can be used again
	if res.StatusCode/100 == 2 {
		return nil
	}
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
	return refusal{status: res.StatusCode, after: time.Duration(min(max(seconds, 0), 3600)) * time.Second}
}
