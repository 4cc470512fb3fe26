// Everything in Azure that scoregate needs, into one resource group. Nothing here holds a secret.
// Applied by deploy.sh; by hand: az deployment group create -g GROUP -f main.bicep -p @environments/small.json -p suffix=… (and so on)
targetScope = 'resourceGroup'

@description('Name of the installation: lower-case letters and digits, at most 11. All resources are named after it.')
@minLength(3)
@maxLength(11)
param name string

@description('Six letters or digits that make the names unique which all of Azure shares: registry, vault, storage, Redis.')
@minLength(6)
@maxLength(6)
param suffix string

@description('Azure region.')
param location string = resourceGroup().location

@description('Object id of who deploys: may administer the cluster, write the vault and publish models.')
param deployerId string

@description('What the deployer is.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param deployerType string = 'User'

@description('Object ids of further people, groups or apps that publish models. Whoever publishes runs code in the scorers.')
param publisherIds array = []

@description('Public addresses and ranges from which vault and storage may be reached besides the cluster: the deployer, publishers. A single address without /32.')
param allowedAddresses array

@description('Public ranges (CIDR) from which the Kubernetes API may be reached; none: from anywhere, with an Entra login.')
param apiServerRanges array = []

@description('GitHub repository (owner/name) whose workflow may push images and deploy; empty: none.')
param githubRepository string = ''

@description('GitHub environment whose jobs may do so.')
param githubEnvironment string = 'staging'

@description('Kubernetes version as major.minor; empty: what AKS takes for new clusters.')
param kubernetesVersion string = ''

@description('AKS tier: Standard has an SLA for the API server.')
@allowed(['Free', 'Standard'])
param clusterTier string = 'Standard'

@description('Availability zones of nodes; none in regions that have none.')
param zones array = ['1', '2', '3']

@description('VM size of the system pool.')
param systemVmSize string = 'Standard_D2ds_v5'

@description('Nodes of the system pool.')
@minValue(1)
param systemNodes int = 2

@description('VM size of the pool that gateways and scorers run on.')
param workVmSize string = 'Standard_D4ds_v5'

@description('Fewest nodes of that pool.')
@minValue(1)
param workNodesMin int = 2

@description('Most nodes of that pool: the bound on what scaling can cost.')
param workNodesMax int = 6

@description('Tier of the registry. Premium adds private endpoints, zones and quarantine.')
@allowed(['Basic', 'Standard', 'Premium'])
param registrySku string = 'Standard'

@description('Redundancy of the model store.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GZRS'])
param storageSku string = 'Standard_ZRS'

@description('Size of Azure Managed Redis: Balanced_B0 has 0.5 GB, which counts for some 100,000 callers.')
param redisSku string = 'Balanced_B0'

@description('A replica of Redis in another zone. Without it limits are counted per process while Redis restarts.')
@allowed(['Enabled', 'Disabled'])
param redisHighAvailability string = 'Enabled'

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Most GB of logs a day: a bound on cost, beyond which logs are lost until midnight UTC. -1: none.')
param logDailyCapGb int = 5

@description('Tags of every resource.')
param tags object = {
  application: 'scoregate'
}

var namespace = 'scoregate'

module network 'modules/network.bicep' = {
  name: 'network'
  params: {
    name: name
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    name: name
    location: location
    tags: tags
    retentionDays: logRetentionDays
    dailyCapGb: logDailyCapGb
  }
}

module identities 'modules/identities.bicep' = {
  name: 'identities'
  params: {
    name: name
    location: location
    tags: tags
    vnetName: network.outputs.vnetName
    nodeSubnetName: network.outputs.nodeSubnetName
  }
}

module registry 'modules/registry.bicep' = {
  name: 'registry'
  params: {
    name: '${name}${suffix}'
    location: location
    tags: tags
    sku: registrySku
  }
}

module vault 'modules/vault.bicep' = {
  name: 'vault'
  params: {
    name: '${name}-${suffix}'
    location: location
    tags: tags
    subnetId: network.outputs.nodeSubnetId
    allowedAddresses: allowedAddresses
    logAnalyticsId: monitoring.outputs.logAnalyticsId
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  params: {
    name: '${name}${suffix}'
    location: location
    tags: tags
    sku: storageSku
    subnetId: network.outputs.nodeSubnetId
    allowedAddresses: allowedAddresses
    logAnalyticsId: monitoring.outputs.logAnalyticsId
  }
}

module redis 'modules/redis.bicep' = {
  name: 'redis'
  params: {
    name: '${name}-${suffix}'
    location: location
    tags: tags
    sku: redisSku
    highAvailability: redisHighAvailability
    gatewayObjectId: identities.outputs.gatewayObjectId
    subnetId: network.outputs.endpointSubnetId
    vnetId: network.outputs.vnetId
  }
}

module cluster 'modules/cluster.bicep' = {
  name: 'cluster'
  params: {
    name: name
    location: location
    tags: tags
    identityId: identities.outputs.clusterId
    subnetId: network.outputs.nodeSubnetId
    kubernetesVersion: kubernetesVersion
    tier: clusterTier
    zones: zones
    systemVmSize: systemVmSize
    systemNodes: systemNodes
    workVmSize: workVmSize
    workNodesMin: workNodesMin
    workNodesMax: workNodesMax
    apiServerRanges: apiServerRanges
    logAnalyticsId: monitoring.outputs.logAnalyticsId
  }
}

module collection 'modules/collection.bicep' = {
  name: 'collection'
  params: {
    clusterName: cluster.outputs.name
    location: location
    tags: tags
    logAnalyticsId: monitoring.outputs.logAnalyticsId
    prometheusId: monitoring.outputs.prometheusId
  }
}

module federation 'modules/federation.bicep' = {
  name: 'federation'
  params: {
    issuer: cluster.outputs.issuer
    namespace: namespace
    gatewayName: identities.outputs.gatewayName
    scorerName: identities.outputs.scorerName
    pipelineName: identities.outputs.pipelineName
    githubRepository: githubRepository
    githubEnvironment: githubEnvironment
  }
}

module roles 'modules/roles.bicep' = {
  name: 'roles'
  params: {
    registryName: registry.outputs.name
    vaultName: vault.outputs.name
    storageName: storage.outputs.name
    clusterName: cluster.outputs.name
    kubeletObjectId: cluster.outputs.kubeletObjectId
    scorerObjectId: identities.outputs.scorerObjectId
    pipelineObjectId: empty(githubRepository) ? '' : identities.outputs.pipelineObjectId
    deployerId: deployerId
    deployerType: deployerType
    publisherIds: publisherIds
  }
}

// What deploy.sh reads; GATEWAY_CLIENT_ID and so on of overlays/aks/params.env.
output tenantId string = tenant().tenantId
output clusterName string = cluster.outputs.name
output registryServer string = registry.outputs.server
output vaultName string = vault.outputs.name
output storageAccount string = storage.outputs.name
output redisUrl string = 'rediss://${redis.outputs.hostName}:10000'
output podCidr string = cluster.outputs.podCidr
output gatewayObjectId string = identities.outputs.gatewayObjectId
output scorerObjectId string = identities.outputs.scorerObjectId
output gatewayClientId string = identities.outputs.gatewayClientId
output scorerClientId string = identities.outputs.scorerClientId
output pipelineClientId string = identities.outputs.pipelineClientId
output pipelineObjectId string = identities.outputs.pipelineObjectId
output prometheusQueryEndpoint string = monitoring.outputs.prometheusQueryEndpoint
