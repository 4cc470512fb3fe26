// The model store: a Blob container that only Entra identities reach, over HTTPS, from the cluster and named addresses.

@description('Name, unique in Azure: at most 24 lower-case letters and digits.')
@maxLength(24)
param name string

@description('Azure region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Redundancy, like Standard_ZRS.')
param sku string

@description('Subnet of the nodes.')
param subnetId string

@description('Public addresses and ranges of those who publish.')
param allowedAddresses array

@description('Where the log of accesses goes.')
param logAnalyticsId string

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  // checkov:skip=CKV_AZURE_36:no service of Azure's reads the store, so none has an exception
  // checkov:skip=CKV_AZURE_59:no anonymous access and a firewall; scorers may call 443 outside private ranges only
  // checkov:skip=CKV_AZURE_206:copies in three zones; a package can be published again from where it was made. GZRS by parameter
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: sku
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    supportsHttpsTrafficOnly: true
    minimumTlsVersion: 'TLS1_2'
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      defaultAction: 'Deny'
      bypass: 'None'
      virtualNetworkRules: [
        {
          id: subnetId
          action: 'Allow'
        }
      ]
      ipRules: [
        for address in allowedAddresses: {
          value: address
          action: 'Allow'
        }
      ]
    }
    encryption: {
      keySource: 'Microsoft.Storage'
      requireInfrastructureEncryption: true
      services: {
        blob: {
          enabled: true
        }
      }
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: 14
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 14
    }
  }
}

resource models 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: 'models'
  properties: {
    publicAccess: 'None'
  }
}

// Who wrote and deleted what: a model is code that scorers run.
resource log 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'writes'
  scope: blobs
  properties: {
    workspaceId: logAnalyticsId
    logs: [
      {
        category: 'StorageWrite'
        enabled: true
      }
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

output name string = account.name
