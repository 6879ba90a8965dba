using Microsoft.EntityFrameworkCore;
using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Tests.Store;

[TestClass]
public sealed class SchemaTests
{
    // The script is embedded because EF's own creation is slow; this keeps the two the same.
    [TestMethod]
    public void Schema_Script_IsTheModelsOwn()
    {
        using var context = new ClusterDbContext(new DbContextOptionsBuilder<ClusterDbContext>().UseSqlite("Data Source=:memory:").Options);
        using var reader = new StreamReader(typeof(ClusterDbContext).Assembly.GetManifestResourceStream("schema.sql")!);

        Assert.AreEqual(Normal(context.Database.GenerateCreateScript()), Normal(reader.ReadToEnd()));

        static string Normal(string script) => string.Join('\n', script.ReplaceLineEndings("\n").Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }
}
