// Package awstest stands for the part of AWS that a node uses, on loopback: Secrets
// Manager, the lifecycle hooks of Auto Scaling, and the instance metadata service. It
// refuses what AWS refuses: a request without a valid signature, metadata without a
// token, a second first version of a secret.
//
//	cloud := awstest.New(t)
//	cloud.NewSecret("nearcast/nodes")
//	client := awsapi.New(cloud.Config(), awstest.Region)
package awstest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/nearcast/nearcast/provision/awsapi"
)

// Region is the region that requests must be signed for.
const Region = "test-1"

// role are the credentials that requests must be signed with.
var role = aws.Credentials{AccessKeyID: "AKIDTEST", SecretAccessKey: "secret", SessionToken: "session"}

// Cloud is one region.
type Cloud struct {
	URL string
	// Region that requests must be signed for, if it is not the constant.
	Region string

	t        testing.TB
	mu       sync.Mutex
	metadata map[string]string
	token    int
	legacy   bool
	throttle int
	fails    int
	secrets  map[string]map[string]string // values by version; the current one under ""
	actions  []url.Values
	gone     bool // no group waits
	refused  int  // calls for that reason
	groups   map[string]group
	acted    chan struct{} // closed and made again at each action
	storm    *storm
}

// New starts a cloud that runs until the test ends.
func New(t testing.TB) *Cloud {
	c := &Cloud{t: t, Region: Region, metadata: map[string]string{"instance-id": "i-0123456789abcdef0"}, secrets: map[string]map[string]string{}, acted: make(chan struct{})}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// connections that nothing keeps, so that a test leaves no goroutine.
func connections() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
}

// Environment is the same for a program that runs on a node, as NAME=VALUE.
func (c *Cloud) Environment() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + c.URL, "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + c.URL, "AWS_ACCESS_KEY_ID=" + role.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + role.SecretAccessKey, "AWS_SESSION_TOKEN=" + role.SessionToken,
	}
}

// RoleEnvironment is that of a program on a node whose credentials come from the metadata service, as those
// of a node's role do.
func (c *Cloud) RoleEnvironment() []string {
	c.Say("iam/security-credentials/", "node")
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	c.Say("iam/security-credentials/node", fmt.Sprintf(`{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": %q, "SecretAccessKey": %q, "Token": %q, "LastUpdated": %q, "Expiration": %q}`,
		role.AccessKeyID, role.SecretAccessKey, role.SessionToken, at(-time.Hour), at(6*time.Hour)))
	return []string{"AWS_ENDPOINT_URL=" + c.URL, "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + c.URL}
}

// Config is what the SDK finds on a node of this cloud.
func (c *Cloud) Config() aws.Config {
	return aws.Config{
		Region: c.Region, BaseEndpoint: &c.URL, HTTPClient: connections(),
		Credentials: credentials.StaticCredentialsProvider{Value: role},
	}
}

// Client speaks to the cloud.
func (c *Cloud) Client() *awsapi.Client { return awsapi.New(c.Config(), c.Region) }

// IMDS reads its metadata.
func (c *Cloud) IMDS() *awsapi.IMDS {
	return awsapi.NewIMDS(imds.Options{Endpoint: c.URL, HTTPClient: connections()})
}

// Say changes the metadata; an empty value removes the entry.
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

// Legacy makes the metadata service one of version 1: it gives no tokens, and asks for
// none.
func (c *Cloud) Legacy() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.legacy = true
}

// Throttle refuses the next n requests that are signed, as AWS does with too many. It
// returns how many were still to be refused.
func (c *Cloud) Throttle(n int) (left int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left, c.throttle = c.throttle, n
	return left
}

// Fail makes the metadata service answer the next n requests with 500.
func (c *Cloud) Fail(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails = n
}

// NoAction makes Auto Scaling refuse what is said of this node, or no longer: no group waits
// for it.
func (c *Cloud) NoAction(gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = gone
}

// Refused counts what was said of this node while no group waited for it.
func (c *Cloud) Refused() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

// NewSecret makes a secret without a value, as Terraform does.
func (c *Cloud) NewSecret(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets[name] = map[string]string{}
}

// Secret is a secret's current value.
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
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if kind, hang := c.strike(time.Now()); kind != "" {
		c.fail(w, r, body, kind, hang)
		return
	}
	c.serve(w, r, body)
}

func (c *Cloud) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	secretsAction, secrets := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	switch path, meta := strings.CutPrefix(r.URL.Path, "/latest/meta-data/"); {
	case c.fails > 0 && strings.HasPrefix(r.URL.Path, "/latest/"):
		c.fails--
		w.WriteHeader(http.StatusInternalServerError)
	case r.URL.Path == "/latest/api/token" && r.Method == http.MethodPut && r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") != "":
		if c.legacy {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("X-aws-ec2-metadata-token-ttl-seconds", r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds"))
		fmt.Fprint(w, c.sessionToken())
	case meta && !c.legacy && r.Header.Get("X-aws-ec2-metadata-token") != c.sessionToken():
		w.WriteHeader(http.StatusUnauthorized)
	case meta:
		if value, ok := c.metadata[path]; ok {
			fmt.Fprint(w, value)
		} else {
			w.WriteHeader(http.StatusNotFound)
		}
	case secrets:
		c.secretsManager(w, r, secretsAction, body)
	default:
		c.autoScaling(w, r, body)
	}
}

func (c *Cloud) sessionToken() string { return fmt.Sprint("token-", c.token) }

// verify signs the request again, by the SDK, and compares. It returns the code of
// AWS's refusal, or nothing.
func (c *Cloud) verify(r *http.Request, body []byte, service, action string) (code string) {
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return "MalformedRequest"
	}
	_, list, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	for name := range strings.SplitSeq(list, ";") {
		if values := r.Header.Values(name); len(values) > 0 {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > 15*time.Minute {
		return "RequestExpired"
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(r.Context(), role, again, hex.EncodeToString(sum[:]), service, c.Region, at); err != nil ||
		again.Header.Get("Authorization") != r.Header.Get("Authorization") || r.Header.Get("X-Amz-Security-Token") != role.SessionToken {
		return "SignatureDoesNotMatch"
	}
	c.know(service + ":" + action)
	if c.throttle > 0 {
		c.throttle--
		return "ThrottlingException"
	}
	return ""
}

func (c *Cloud) autoScaling(w http.ResponseWriter, r *http.Request, body []byte) {
	form, err := url.ParseQuery(string(body))
	action := form.Get("Action")
	code := c.verify(r, body, "autoscaling", action)
	if code == "" && err == nil && action == "DescribeAutoScalingGroups" {
		c.describe(w, form)
		return
	}
	if code == "" && (err != nil || form.Get("InstanceId") == "" || form.Get("Version") != "2011-01-01") {
		code = "ValidationError"
	}
	message := "refused"
	if code == "" && c.gone && strings.Contains(action, "Lifecycle") {
		c.refused++
		code, message = "ValidationError", "No active Lifecycle Action found with instance ID "+form.Get("InstanceId")
	}
	w.Header().Set("Content-Type", "text/xml")
	if code != "" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>", code, message)
		return
	}
	if action == "SetInstanceHealth" {
		c.setHealth(form.Get("InstanceId"), form.Get("HealthStatus"))
	}
	c.actions = append(c.actions, form)
	close(c.acted)
	c.acted = make(chan struct{})
	fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult></%[1]sResult></%[1]sResponse>", action)
}

// latest is where the id of a secret's latest version is, among its versions.
const latest = "AWSCURRENT"

func (c *Cloud) secretsManager(w http.ResponseWriter, r *http.Request, action string, body []byte) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	refuse := func(code string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":"%s","Message":"refused"}`, code)
	}
	if code := c.verify(r, body, "secretsmanager", action); code != "" {
		refuse(code)
		return
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
			refuse("ResourceNotFoundException") // as AWS does for a secret without a value
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"Name": in.SecretId, "SecretString": value, "VersionId": versions[latest]})
	case "PutSecretValue":
		if n := len(in.ClientRequestToken); n < 32 || n > 64 {
			refuse("InvalidParameterException")
			return
		}
		if old, ok := versions[in.ClientRequestToken]; ok && old != in.SecretString {
			refuse("ResourceExistsException")
			return
		} else if !ok {
			versions[in.ClientRequestToken], versions[""], versions[latest] = in.SecretString, in.SecretString, in.ClientRequestToken
		}
		json.NewEncoder(w).Encode(map[string]string{"Name": in.SecretId, "VersionId": in.ClientRequestToken})
	default:
		refuse("UnknownOperationException")
	}
}
