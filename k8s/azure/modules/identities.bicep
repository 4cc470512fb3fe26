// One identity for each that acts: the cluster's control plane, the gateway, the scorer, the pipeline. No passwords.

@description('Name of the installation.')
param name string

@description('Azure region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Virtual network that the cluster joins.')
param vnetName string

@description('Subnet of the nodes.')
param nodeSubnetName string

var networkContributor = '4d97b98b-1d4f-4787-a291-c67834d212e7'

resource cluster 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-cluster'
  location: location
  tags: tags
}

resource gateway 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-gateway'
  location: location
  tags: tags
}

resource scorer 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-scorer'
  location: location
  tags: tags
}

resource pipeline 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-pipeline'
  location: location
  tags: tags
}

resource nodes 'Microsoft.Network/virtualNetworks/subnets@2024-05-01' existing = {
  name: '${vnetName}/${nodeSubnetName}'
}

// Before the cluster, which joins its nodes and load balancers to the subnet.
resource joinsSubnet 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(nodes.id, cluster.id, networkContributor)
  scope: nodes
  properties: {
    principalId: cluster.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', networkContributor)
  }
}

output clusterId string = cluster.id
output gatewayName string = gateway.name
output gatewayClientId string = gateway.properties.clientId
output gatewayObjectId string = gateway.properties.principalId
output scorerName string = scorer.name
output scorerClientId string = scorer.properties.clientId
output scorerObjectId string = scorer.properties.principalId
output pipelineName string = pipeline.name
output pipelineClientId string = pipeline.properties.clientId
output pipelineObjectId string = pipeline.properties.principalId
