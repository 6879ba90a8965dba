using Grpc.Core;
using MLDistributed.Cli;

namespace Cli.Tests;

[TestClass]
public sealed class CliErrorsTests
{
    [TestMethod]
    [DataRow(StatusCode.NotFound, ExitCode.NotFound)]
    [DataRow(StatusCode.Unavailable, ExitCode.NoAccess)]
    [DataRow(StatusCode.Unauthenticated, ExitCode.NoAccess)]
    [DataRow(StatusCode.PermissionDenied, ExitCode.NoAccess)]
    [DataRow(StatusCode.FailedPrecondition, ExitCode.NoAccess)]
    [DataRow(StatusCode.Unimplemented, ExitCode.NoAccess)]
    [DataRow(StatusCode.Internal, ExitCode.Failure)]
    [DataRow(StatusCode.ResourceExhausted, ExitCode.Failure)]
    public void CodeOf_WhatTheCoordinatorAnswered_IsTheDocumentedOne(StatusCode status, int expected) =>
        Assert.AreEqual(expected, CliErrors.CodeOf(new RpcException(new Status(status, "said"))));

    [TestMethod]
    public void CodeOf_WhatBrokeOnTheWay_IsNoAccess() =>
        Assert.AreEqual(ExitCode.NoAccess, CliErrors.CodeOf(new RpcException(new Status(StatusCode.Internal, "", new HttpRequestException("not HTTP/2")))));
}
