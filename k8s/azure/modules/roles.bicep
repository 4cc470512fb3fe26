// Who may do what, in one place; only who reads which secret is in deploy.sh, since a role on a secret needs the secret.
// Role ids: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles

@description('Registry.')
param registryName string

@description('Key Vault.')
param vaultName string

@description('Storage account.')
param storageName string

@description('Cluster.')
param clusterName string

@description('Object id of the kubelets\' identity.')
param kubeletObjectId string

@description('Object id of the scorer\'s identity.')
param scorerObjectId string

@description('Object id of the pipeline\'s identity; empty: there is no pipeline.')
param pipelineObjectId string

@description('Object id of the deployer.')
param deployerId string

@description('User, Group or ServicePrincipal.')
param deployerType string

@description('Object ids of further publishers.')
param publisherIds array

var role = {
  acrPull: '7f951dda-4ed3-4680-a7ca-43fe172d538d'
  acrPush: '8311e382-0749-4cb8-b61a-304f252e45ec'
  blobReader: '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
  blobContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  vaultAdministrator: '00482a5a-887f-4fb3-b363-3b7fe8e74483'
  clusterUser: '4abbcc35-e782-43d8-92c5-2d3f1bd2253f'
  clusterAdmin: 'b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b'
  reader: 'acdd72a7-3385-48ef-bd42-f606fba81ae7'
}

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' existing = {
  name: registryName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource cluster 'Microsoft.ContainerService/managedClusters@2026-04-01' existing = {
  name: clusterName
}

resource models 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  name: '${storageName}/default/models'
}

resource kubeletPulls 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, kubeletObjectId, role.acrPull)
  scope: registry
  properties: {
    principalId: kubeletObjectId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.acrPull)
  }
}

resource scorerReadsModels 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(models.id, scorerObjectId, role.blobReader)
  scope: models
  properties: {
    principalId: scorerObjectId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.blobReader)
  }
}

resource deployerPublishes 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(models.id, deployerId, role.blobContributor)
  scope: models
  properties: {
    principalId: deployerId
    principalType: deployerType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.blobContributor)
  }
}

resource publishersPublish 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for publisher in publisherIds: {
    name: guid(models.id, publisher, role.blobContributor)
    scope: models
    properties: {
      principalId: publisher
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.blobContributor)
    }
  }
]

resource deployerKeepsVault 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, deployerId, role.vaultAdministrator)
  scope: vault
  properties: {
    principalId: deployerId
    principalType: deployerType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.vaultAdministrator)
  }
}

resource deployerRunsCluster 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(cluster.id, deployerId, role.clusterAdmin)
  scope: cluster
  properties: {
    principalId: deployerId
    principalType: deployerType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.clusterAdmin)
  }
}

resource pipelinePushes 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(pipelineObjectId)) {
  name: guid(registry.id, pipelineObjectId, role.acrPush)
  scope: registry
  properties: {
    principalId: pipelineObjectId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.acrPush)
  }
}

resource pipelineFindsCluster 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(pipelineObjectId)) {
  name: guid(cluster.id, pipelineObjectId, role.clusterUser)
  scope: cluster
  properties: {
    principalId: pipelineObjectId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.clusterUser)
  }
}

// The overlay has a Namespace and custom resources, which the smaller roles may not write.
resource pipelineDeploys 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(pipelineObjectId)) {
  name: guid(cluster.id, pipelineObjectId, role.clusterAdmin)
  scope: cluster
  properties: {
    principalId: pipelineObjectId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.clusterAdmin)
  }
}

// Reads this deployment's outputs.
resource pipelineReadsGroup 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(pipelineObjectId)) {
  name: guid(resourceGroup().id, pipelineObjectId, role.reader)
  properties: {
    principalId: pipelineObjectId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.reader)
  }
}
