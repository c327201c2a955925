// Package awstest stands for the part of AWS that a node speaks to, on loopback:
// Secrets Manager, the lifecycle hooks of Auto Scaling, and the instance metadata
// service. It refuses what AWS refuses: a request without a signature, metadata
// without a token, a second first version.
package awstest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/nearcast/nearcast/provision/awsapi"
)

// Cloud is one region.
type Cloud struct {
	URL string

	mu       sync.Mutex
	metadata map[string]string
	token    int
	secrets  map[string]map[string]string // values by version, the present one under ""
	actions  []url.Values
	acted    chan struct{} // closed and made anew at each action
}

// New starts a cloud until the test ends.
func New(t testing.TB) *Cloud {
	c := &Cloud{metadata: map[string]string{"instance-id": "i-0123456789abcdef0"}, secrets: map[string]map[string]string{}, acted: make(chan struct{})}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// Client speaks to it.
func (c *Cloud) Client() *awsapi.Client {
	return &awsapi.Client{Region: "test-1", Endpoint: c.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIDTEST", "secret", "session"),
		HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

// IMDS asks it.
func (c *Cloud) IMDS() *awsapi.IMDS {
	return &awsapi.IMDS{Endpoint: c.URL, HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

// Say changes the metadata; an empty value takes it away.
func (c *Cloud) Say(path, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.metadata[path] = value; value == "" {
		delete(c.metadata, path)
	}
}

// ForgetTokens makes the metadata service refuse the tokens that it gave.
func (c *Cloud) ForgetTokens() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token++
}

// NewSecret makes a secret without a value, as Terraform does.
func (c *Cloud) NewSecret(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets[name] = map[string]string{}
}

// Secret is a secret's present value.
func (c *Cloud) Secret(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.secrets[name][""]
}

// Actions are the calls to Auto Scaling so far, and a channel that is closed at
// the next one.
func (c *Cloud) Actions() ([]url.Values, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]url.Values(nil), c.actions...), c.acted
}

func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	switch path, meta := strings.CutPrefix(r.URL.Path, "/latest/meta-data/"); {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case r.URL.Path == "/latest/api/token" && r.Method == http.MethodPut && r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") != "":
		fmt.Fprint(w, c.sessionToken())
	case meta && r.Header.Get("X-aws-ec2-metadata-token") != c.sessionToken():
		w.WriteHeader(http.StatusUnauthorized)
	case meta:
		if value, ok := c.metadata[path]; ok {
			fmt.Fprint(w, value)
		} else {
			w.WriteHeader(http.StatusNotFound)
		}
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDTEST/") || r.Header.Get("X-Amz-Security-Token") != "session":
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"__type":"MissingAuthenticationTokenException","message":"no signature"}`)
	case strings.HasPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager."):
		c.secretsManager(w, strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager."), body)
	default:
		form, err := url.ParseQuery(string(body))
		if err != nil || form.Get("InstanceId") == "" {
			http.Error(w, "<ErrorResponse>ValidationError</ErrorResponse>", http.StatusBadRequest)
			return
		}
		c.actions = append(c.actions, form)
		close(c.acted)
		c.acted = make(chan struct{})
		fmt.Fprint(w, "<Response/>")
	}
}

func (c *Cloud) sessionToken() string { return fmt.Sprint("token-", c.token) }

func (c *Cloud) secretsManager(w http.ResponseWriter, action string, body []byte) {
	refuse := func(code string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":"%s","Message":"refused"}`, code)
	}
	var in struct{ SecretId, SecretString, ClientRequestToken string }
	if err := json.Unmarshal(body, &in); err != nil {
		refuse("SerializationException")
		return
	}
	versions, ok := c.secrets[in.SecretId]
	if !ok {
		refuse("ResourceNotFoundException")
		return
	}
	switch action {
	case "GetSecretValue":
		value, ok := versions[""]
		if !ok {
			refuse("ResourceNotFoundException") // AWS says the same of a secret without a value
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"SecretString": value})
	case "PutSecretValue":
		if n := len(in.ClientRequestToken); n < 32 || n > 64 {
			refuse("InvalidParameterException")
			return
		}
		if old, ok := versions[in.ClientRequestToken]; ok && old != in.SecretString {
			refuse("ResourceExistsException")
			return
		} else if !ok {
			versions[in.ClientRequestToken], versions[""] = in.SecretString, in.SecretString
		}
		fmt.Fprint(w, "{}")
	default:
		refuse("UnknownOperationException")
	}
}
