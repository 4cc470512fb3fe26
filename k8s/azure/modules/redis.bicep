// Azure Managed Redis for the limits: TLS on port 10000, Entra tokens instead of keys, reached inside the network only.

@description('Name, unique in its region.')
param name string

@description('Azure region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Size, like Balanced_B0.')
param sku string

@description('A replica in another zone.')
param highAvailability string

@description('Object id of the gateway\'s identity, which logs in with it.')
param gatewayObjectId string

@description('Subnet of the private endpoint.')
param subnetId string

@description('Virtual network whose pods resolve the name to the endpoint.')
param vnetId string

resource redis 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
  }
  properties: {
    minimumTlsVersion: '1.2'
    highAvailability: highAvailability
    publicNetworkAccess: 'Disabled'
  }
}

resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: redis
  name: 'default'
  properties: {
    port: 10000
    clientProtocol: 'Encrypted'
    // One endpoint: the other policy (OSSCluster) answers on ports 85xx, too, which the NetworkPolicy does not open.
    clusteringPolicy: 'EnterpriseCluster'
    // A counter that is dropped is a limit that is lifted: better an error, upon which gateways count for themselves.
    evictionPolicy: 'NoEviction'
    accessKeysAuthentication: 'Disabled'
  }
}

resource gatewayMay 'Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments@2025-07-01' = {
  parent: database
  name: 'gateway'
  properties: {
    accessPolicyName: 'default'
    user: {
      objectId: gatewayObjectId
    }
  }
}

resource endpoint 'Microsoft.Network/privateEndpoints@2024-05-01' = {
  name: '${name}-redis'
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: 'redis'
        properties: {
          privateLinkServiceId: redis.id
          groupIds: ['redisEnterprise']
        }
      }
    ]
  }
}

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = {
  name: 'privatelink.redis.azure.net'
  location: 'global'
  tags: tags
}

resource zoneLink 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = {
  parent: zone
  name: 'cluster'
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: vnetId
    }
  }
}

resource zoneRecords 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: 'redis'
        properties: {
          privateDnsZoneId: zone.id
        }
      }
    ]
  }
}

output hostName string = redis.properties.hostName
