global using Grpc.Core;
global using MLDistributed.Coordinator.Tests.Support;
global using MLDistributed.Protocol;
global using MLDistributed.Tests.Shared;
