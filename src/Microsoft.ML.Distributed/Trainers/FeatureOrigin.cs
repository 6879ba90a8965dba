using System.Diagnostics.CodeAnalysis;
using System.IO.Compression;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Which fitted transforms make a column out of a source. Two views whose features have the same names and types may still mean
/// something else: a normaliser that was fitted to other data gives other numbers, on the same scale.
/// </summary>
internal static class FeatureOrigin
{
    private const string Entry = "transform";

    /// <summary>Whether the column's transforms are known to be others than these transformers would apply, or the same fitted to other data.</summary>
    /// <param name="data">Data with the column.</param>
    /// <param name="column">The column.</param>
    /// <param name="transformers">What made it where it meant what it is to mean; none: that is not known.</param>
    /// <remarks>What was written to a file or a cache in between tells nothing of how it was made.</remarks>
    public static bool IsAnother(IDataView data, string column, IReadOnlyList<ITransformer> transformers)
    {
        var (made, source) = Trace(data, column);
        var (expected, _) = Trace(Apply(transformers, source), column);
        return made.Count > 0 && expected.Count > 0 && !made.Select(Save).SequenceEqual(expected.Select(Save), StringComparer.Ordinal);
    }

    // From the last to the first, and what they read.
    private static (List<IDataTransform> Transforms, IDataView Source) Trace(IDataView view, string column)
    {
        var found = new List<IDataTransform>();
        HashSet<string> needed = new([column], StringComparer.Ordinal);
        for (; view is IDataTransform transform; view = transform.Source)
        {
            // What a transform makes hides columns of the same name, which stay.
            var made = needed.Where(name => Count(view, name) > Count(transform.Source, name)).Select(name => view.Schema[name]).ToList();
            if (made.Count == 0)
                continue;
            found.Add(transform);
            needed.ExceptWith(made.Select(c => c.Name));
            needed.UnionWith(((transform as IRowToRowMapper)?.GetDependencies(made) ?? transform.Source.Schema).Select(c => c.Name));
        }

        return (found, view);
    }

    private static int Count(IDataView view, string name) => view.Schema.Count(c => c.Name == name);

    [SuppressMessage("Design", "CA1031", Justification = "What does not go with this source, as a label's mapping without labels, makes no features of it.")]
    private static IDataView Apply(IReadOnlyList<ITransformer> transformers, IDataView view)
    {
        foreach (var transformer in transformers)
        {
            try
            {
                view = transformer.Transform(view);
            }
            catch (Exception)
            {
                // Then the column is made without it, or not at all.
            }
        }

        return view;
    }

    // As in a model file, whose parts are the same for the same numbers.
    [SuppressMessage("Design", "CA1031", Justification = "A transform of the user's own that cannot be saved is known by its type alone.")]
    private static string Save(IDataTransform transform)
    {
        try
        {
            using var file = new MemoryStream();
            using (var repository = RepositoryWriter.CreateNew(file))
            {
                ModelSaveContext.SaveModel(repository, transform, Entry);
                repository.Commit();
            }

            // The repository has closed the stream.
            using var parts = new ZipArchive(new MemoryStream(file.ToArray()));
            return string.Join('\n', parts.Entries.OrderBy(e => e.FullName, StringComparer.Ordinal).Select(e => $"{e.FullName} {Hash(e)}"));
        }
        catch (Exception)
        {
            return transform.GetType().FullName!;
        }
    }

    private static string Hash(ZipArchiveEntry part)
    {
        using var content = part.Open();
        return Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(content));
    }
}
