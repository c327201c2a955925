package terraform_test

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/smithy-go/encoding/cbor"
)

// front stands between Terraform's provider and moto. It records each request, and answers what moto
// does not know: CloudWatch by the protocol that the SDK speaks now, policies and replication of
// buckets, and what moto makes up or loses in its answers.
type front struct {
	*httptest.Server
	moto  string
	proxy *httputil.ReverseProxy
	zone  string // id of the hosted zone

	mu     sync.Mutex
	calls  map[string]int
	alarms map[string]map[string]cbor.Map // by region and name
	kept   map[string][]byte              // documents of buckets, policies of groups, descriptions of rules
	mixed  map[string]url.Values          // policies of groups, by region and group
	// desired is how many nodes groups were asked for last, by region and group.
	desired map[string]string
}

// accountOfMoto is where moto puts everything.
const accountOfMoto = "123456789012"

func newFront(t *testing.T, moto string) *front {
	target, err := url.Parse(moto)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{moto: moto, calls: map[string]int{}, alarms: map[string]map[string]cbor.Map{}, kept: map[string][]byte{}, mixed: map[string]url.Values{}, desired: map[string]string{}}
	f.proxy = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = target.Scheme, target.Host, r.In.Host
		r.Out.Header.Del("Accept-Encoding")
	}}
	f.proxy.ModifyResponse = f.mend
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// environment makes the SDK ask the front. It asks S3 Control at the account's own name, which is
// none of the network's: the front is the proxy for it.
func (f *front) environment() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + f.URL, "AWS_ENDPOINT_URL_S3_CONTROL=http://aws.test", "HTTP_PROXY=" + f.URL, "NO_PROXY=127.0.0.1",
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}
}

var (
	scope     = regexp.MustCompile(`Credential=[^/]+/\d+/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request`)
	operation = regexp.MustCompile(`/operation/(\w+)$`)
	anID      = regexp.MustCompile(`/[A-Z0-9]{10,}|/[0-9a-f-]{36}|/arn:[^?]*`)
)

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	region, service := "", "unsigned"
	if m := scope.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		region, service = m[1], m[2]
	}
	action := actionOf(r, service, body)
	f.mu.Lock()
	f.calls[service+" "+action]++
	f.mu.Unlock()
	if m := operation.FindStringSubmatch(r.URL.Path); m != nil && service == "monitoring" {
		f.cloudWatch(w, region, m[1], body)
		return
	}
	for of, missing := range documents {
		if r.URL.Query().Has(of) && service == "s3" {
			f.document(w, r.Method, strings.Trim(r.URL.Path, "/"), of, missing, body)
			return
		}
	}
	if code := lacks(r, service, body); code != "" {
		w.WriteHeader(http.StatusMethodNotAllowed)
		fault := "<Error><Code>" + code + "</Code><Message>Not in this S3</Message></Error>"
		if strings.HasSuffix(r.Host, ".aws.test") {
			fault = "<ErrorResponse>" + fault + "</ErrorResponse>"
		}
		_, _ = io.WriteString(w, fault)
		return
	}
	a := asked{region: region, action: action}
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") != "" {
		a.description = form.Get("IpPermissions.1.Groups.1.Description")
		if action == "SetInstanceProtection" && form.Get("ProtectedFromScaleIn") == "false" {
			a.unprotected = form.Get("AutoScalingGroupName")
		}
		if strings.HasSuffix(action, "AutoScalingGroup") && f.group(region, form) {
			body = []byte(form.Encode())
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			r.Header.Set("Content-Length", strconv.Itoa(len(body)))
		}
	}
	f.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), asked{}, a)))
}

// asked is what a request asks, for the answer to it.
type asked struct {
	region, action, description string
	unprotected                 string // group whose nodes lose their protection
}

// lacks says why S3 refuses what moto would take and lose: tags of a bucket that come with its
// creation, or through S3 Control. The provider then uses PutBucketTagging.
func lacks(r *http.Request, service string, body []byte) string {
	switch {
	case strings.HasSuffix(r.Host, ".aws.test"):
		return "MethodNotAllowed"
	case service == "s3" && r.Method == http.MethodPut && r.URL.RawQuery == "" && bytes.Contains(body, []byte("<CreateBucketConfiguration")) && bytes.Contains(body, []byte("<Tags>")):
		return "UnsupportedArgument"
	}
	return ""
}

// group keeps two policies of an auto scaling group: moto loses one at once, and the other one at an
// update that does not name it. It says whether it has added that one to the form.
func (f *front) group(region string, form url.Values) bool {
	name := region + " " + form.Get("AutoScalingGroupName")
	f.mu.Lock()
	defer f.mu.Unlock()
	if low, high := form.Get("InstanceMaintenancePolicy.MinHealthyPercentage"), form.Get("InstanceMaintenancePolicy.MaxHealthyPercentage"); low != "" {
		f.kept[name] = []byte("<InstanceMaintenancePolicy><MinHealthyPercentage>" + low + "</MinHealthyPercentage><MaxHealthyPercentage>" + high + "</MaxHealthyPercentage></InstanceMaintenancePolicy>")
	}
	if desired := form.Get("DesiredCapacity"); desired != "" {
		f.desired[name] = desired
	}
	mixed := url.Values{}
	for field, values := range form {
		if strings.HasPrefix(field, "MixedInstancesPolicy.") {
			mixed[field] = values
		}
	}
	if len(mixed) > 0 {
		f.mixed[name] = mixed
		return false
	}
	if form.Get("Action") == "UpdateAutoScalingGroup" {
		maps.Copy(form, f.mixed[name])
	}
	return form.Get("Action") == "UpdateAutoScalingGroup"
}

var (
	aQueue      = regexp.MustCompile(`<NotificationTargetARN>[^<]*:my-queue</NotificationTargetARN>|<RoleARN>[^<]*/my-auto-scaling-role</RoleARN>`)
	ownTags     = regexp.MustCompile(`<item>\s*<resourceType>launch-template</resourceType>\s*<tagSet>(?s:.*?)</tagSet>\s*</item>`)
	ruleID      = regexp.MustCompile(`<securityGroupRuleId>([^<]+)</securityGroupRuleId>`)
	nameOfGroup = regexp.MustCompile(`<AutoScalingGroupName>([^<]+)</AutoScalingGroupName>`)
)

// mend takes out of an answer what moto makes up, and adds what it loses.
func (f *front) mend(resp *http.Response) error {
	a, _ := resp.Request.Context().Value(asked{}).(asked)
	mended := map[string]func([]byte) []byte{
		"DescribeLifecycleHooks":         func(b []byte) []byte { return aQueue.ReplaceAll(b, nil) },
		"DescribeLaunchTemplateVersions": func(b []byte) []byte { return ownTags.ReplaceAll(b, nil) },
		"DescribeAutoScalingGroups":      func(b []byte) []byte { return f.insert(b, nameOfGroup, a.region+" ") },
		// Descriptions of rules between groups.
		"AuthorizeSecurityGroupIngress": func(b []byte) []byte { return f.describe(b, a.description) },
		"AuthorizeSecurityGroupEgress":  func(b []byte) []byte { return f.describe(b, a.description) },
		"DescribeSecurityGroupRules":    func(b []byte) []byte { return f.insert(b, ruleID, "rule ") },
	}[a.action]
	if a.unprotected != "" && resp.StatusCode == http.StatusOK {
		return f.shrink(resp.Request.Context(), a.region, a.unprotected)
	}
	if mended == nil {
		return nil
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return err
	}
	body = mended(body)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

// shrink has a group end the nodes that it could not end while they were protected. Auto Scaling looks again
// and again, and moto only when it is asked.
func (f *front) shrink(ctx context.Context, region, group string) error {
	f.mu.Lock()
	desired := f.desired[region+" "+group]
	f.mu.Unlock()
	if desired == "" {
		return nil
	}
	_, err := f.ask(ctx, region, "autoscaling", "2011-01-01", "SetDesiredCapacity", map[string]string{"AutoScalingGroupName": group, "DesiredCapacity": desired})
	return err
}

// actionOf names a request as AWS's documents do, or by its method where only that tells.
func actionOf(r *http.Request, service string, body []byte) string {
	if m := operation.FindStringSubmatch(r.URL.Path); m != nil {
		return m[1]
	}
	if _, action, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
		return action
	}
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") != "" {
		return form.Get("Action")
	}
	switch {
	case strings.HasSuffix(r.Host, ".aws.test"):
		return r.Method + " control" + anID.ReplaceAllString(r.URL.Path, "/*")
	case service == "s3":
		what := "bucket"
		if strings.Contains(strings.Trim(r.URL.Path, "/"), "/") {
			what = "object"
		}
		var of []string
		for name := range r.URL.Query() {
			of = append(of, name)
		}
		slices.Sort(of)
		return strings.TrimSpace(r.Method + " " + what + " " + strings.Join(of, " "))
	}
	return r.Method + " " + anID.ReplaceAllString(r.URL.Path, "/*")
}

// describe keeps the description of a new rule.
func (f *front) describe(b []byte, description string) []byte {
	if id := ruleID.FindSubmatch(b); id != nil && description != "" {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.kept["rule "+string(id[1])] = []byte("<description>" + description + "</description>")
	}
	return b
}

// insert adds what is kept of a thing after its name.
func (f *front) insert(b []byte, name *regexp.Regexp, prefix string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return name.ReplaceAllFunc(b, func(found []byte) []byte {
		return slices.Concat(found, f.kept[prefix+string(name.FindSubmatch(found)[1])])
	})
}

// documents of a bucket that the front keeps, and how S3 says that there is none. With its policy moto
// would refuse each upload: it reads "Deny" and not the condition, that the connection is without TLS. In
// a replication's rules it loses the deletions.
var documents = map[string]string{"policy": "NoSuchBucketPolicy", "replication": "ReplicationConfigurationNotFoundError"}

func (f *front) document(w http.ResponseWriter, method, bucket, of, missing string, body []byte) {
	name := of + "/" + bucket
	f.mu.Lock()
	defer f.mu.Unlock()
	kept, ok := f.kept[name]
	switch {
	case method == http.MethodPut:
		f.kept[name] = body
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<Error><Code>"+missing+"</Code><Message>There is none</Message></Error>")
	case method == http.MethodDelete:
		delete(f.kept, name)
		w.WriteHeader(http.StatusNoContent)
	default:
		_, _ = w.Write(kept)
	}
}

// cloudWatch keeps alarms. Its protocol is Smithy's RPC v2 with CBOR, which moto 5 does not speak.
func (f *front) cloudWatch(w http.ResponseWriter, region, action string, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.alarms[region] == nil {
		f.alarms[region] = map[string]cbor.Map{}
	}
	alarms := f.alarms[region]
	in := cbor.Map{}
	if v, err := cbor.Decode(body); err == nil {
		in, _ = v.(cbor.Map)
	}
	text := func(v cbor.Value) string { s, _ := v.(cbor.String); return string(s) }
	answer := func(status int, m cbor.Map) {
		w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
		w.Header().Set("Content-Type", "application/cbor")
		w.WriteHeader(status)
		_, _ = w.Write(cbor.Encode(m))
	}
	refuse := func(code, message string) {
		answer(http.StatusBadRequest, cbor.Map{"__type": cbor.String("com.amazonaws.cloudwatch#" + code), "message": cbor.String(message)})
	}
	names := func(list string) (all []string) {
		values, _ := in[list].(cbor.List)
		for _, v := range values {
			all = append(all, text(v))
		}
		return all
	}
	byARN := func() cbor.Map {
		arn := text(in["ResourceARN"])
		return alarms[arn[strings.LastIndex(arn, ":")+1:]]
	}
	switch action {
	case "PutMetricAlarm":
		name := text(in["AlarmName"])
		_, metric := in["MetricName"]
		_, math := in["Metrics"]
		if name == "" || metric == math {
			refuse("InvalidParameterCombination", "an alarm has a name, and MetricName or Metrics")
			return
		}
		for _, target := range slices.Concat(names("AlarmActions"), names("OKActions")) {
			if !strings.Contains(target, ":sns:"+region+":") {
				refuse("InvalidParameterValue", "Invalid region "+target+" specified. Only "+region+" is supported.")
				return
			}
		}
		tags := in["Tags"]
		if old, ok := alarms[name]; ok {
			tags = old["Tags"]
		}
		if in["ActionsEnabled"] == nil {
			in["ActionsEnabled"] = cbor.Bool(true)
		}
		in["Tags"], in["AlarmArn"] = tags, cbor.String("arn:aws:cloudwatch:"+region+":"+accountOfMoto+":alarm:"+name)
		alarms[name] = in
		answer(http.StatusOK, cbor.Map{})
	case "DescribeAlarms":
		found := cbor.List{}
		for _, name := range names("AlarmNames") {
			if a, ok := alarms[name]; ok {
				found = append(found, a)
			}
		}
		answer(http.StatusOK, cbor.Map{"MetricAlarms": found})
	case "DeleteAlarms":
		for _, name := range names("AlarmNames") {
			if alarms[name] == nil {
				refuse("ResourceNotFound", "there is no alarm "+name)
				return
			}
			delete(alarms, name)
		}
		answer(http.StatusOK, cbor.Map{})
	case "ListTagsForResource":
		tags := cbor.List{}
		if t, ok := byARN()["Tags"].(cbor.List); ok {
			tags = t
		}
		answer(http.StatusOK, cbor.Map{"Tags": tags})
	case "TagResource":
		if a := byARN(); a != nil {
			a["Tags"] = in["Tags"]
		}
		answer(http.StatusOK, cbor.Map{})
	default:
		refuse("InvalidAction", "the stand-in does not know "+action)
	}
}
