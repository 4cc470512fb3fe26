// Who may act as an identity: the pods of one service account each, and jobs of one GitHub environment. Nobody holds a secret.

@description('OIDC issuer of the cluster.')
param issuer string

@description('Kubernetes namespace of gateway and scorer.')
param namespace string

@description('Identity of the gateway.')
param gatewayName string

@description('Identity of the scorer.')
param scorerName string

@description('Identity of the pipeline.')
param pipelineName string

@description('GitHub repository, owner/name; empty: none.')
param githubRepository string

@description('GitHub environment.')
param githubEnvironment string

resource gateway 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: gatewayName
}

resource scorer 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: scorerName
}

resource pipeline 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: pipelineName
}

resource gatewayPods 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = {
  parent: gateway
  name: 'pods'
  properties: {
    issuer: issuer
    subject: 'system:serviceaccount:${namespace}:gateway'
    audiences: ['api://AzureADTokenExchange']
  }
}

resource scorerPods 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = {
  parent: scorer
  name: 'pods'
  properties: {
    issuer: issuer
    subject: 'system:serviceaccount:${namespace}:scorer'
    audiences: ['api://AzureADTokenExchange']
  }
}

resource pipelineJobs 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = if (!empty(githubRepository)) {
  parent: pipeline
  name: 'github'
  properties: {
    issuer: 'https://token.actions.githubusercontent.com'
    subject: 'repo:${githubRepository}:environment:${githubEnvironment}'
    audiences: ['api://AzureADTokenExchange']
  }
}
