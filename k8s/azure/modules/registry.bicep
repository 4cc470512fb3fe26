// The image registry. Nodes pull and the pipeline pushes with their own identities; there is no admin user.

@description('Name, unique in Azure: letters and digits.')
param name string

@description('Azure region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Basic, Standard or Premium.')
param sku string

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' = {
  // checkov:skip=CKV_AZURE_139:GitHub's runners push to it, with an identity; a closed one needs Premium and runners of your own
  // checkov:skip=CKV_AZURE_163:the pipeline scans before it pushes; Defender for Containers is the subscription's choice
  // checkov:skip=CKV_AZURE_166:quarantine needs Premium; nothing is pushed that was not scanned, and images are named by digest
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
  }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
    publicNetworkAccess: 'Enabled'
  }
}

output name string = registry.name
output server string = registry.properties.loginServer
