using System.ComponentModel;
using System.Diagnostics;
using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLDistributed.Bench;

/// <summary>
/// A real table, most with columns of categories, that a package of R carries. Rscript writes it into a folder of its own, which goes with it;
/// nothing of it is shipped. All trainers see the same features, numbers as they are, categories one-hot, texts by FeaturizeText, but one of ours, which
/// has categories as keys.
/// </summary>
internal sealed class RTable : IDisposable
{
    /// <summary>What the packages are called that have all of them, and R.</summary>
    public const string Packages = "r-base-core, r-cran-modeldata, r-cran-mlbench, r-cran-kernlab and r-cran-ggplot2";
    private const string Label = "Label";

    // The first line says of which kind each column is. A category that is missing is one more; rows without a number are left out.
    private const string Write = """
        table <- as.data.frame(table)
        isCategory <- sapply(table, function(c) is.factor(c) || is.character(c))
        for (c in which(isCategory)) { table[[c]] <- as.character(table[[c]]); table[[c]][is.na(table[[c]])] <- "?" }
        table <- table[complete.cases(table), ]
        isText <- sapply(table, function(c) is.character(c) && mean(nchar(c)) > 50)
        write(paste(ifelse(isText, "text", ifelse(isCategory, "category", "number")), collapse = ","), stdout())
        write.table(table, sep = ",", row.names = FALSE, col.names = FALSE, qmethod = "double")
        """;

    private readonly string _folder = Directory.CreateTempSubdirectory("mldist-bench-").FullName;
    private readonly List<TextLoader.Column> _columns = [];
    private readonly HashSet<string> _texts = [];
    private readonly bool _hasClasses;

    /// <param name="expression">R's, of the table, its label first.</param>
    /// <param name="label">The label's type; text becomes classes.</param>
    /// <exception cref="InvalidDataException">R or its package is not there.</exception>
    public RTable(string expression, DataKind label)
    {
        _hasClasses = label == DataKind.String;
        try
        {
            Export($"table <- {expression}\n{Write}");
        }
        catch
        {
            Dispose();
            throw;
        }

        Rows = File.ReadLines(Path).Count() - 1;
        foreach (var (i, kind) in File.ReadLines(Path).First().Split(',').Index())
        {
            _columns.Add(i == 0 ? new TextLoader.Column(Label, label, 0) : new TextLoader.Column($"C{i}", kind == "number" ? DataKind.Single : DataKind.String, i));
            if (kind == "text")
                _texts.Add($"C{i}");
        }
    }

    public int Rows { get; }

    /// <summary>The columns of categories.</summary>
    public List<string> Categories => [.. Names(DataKind.String).Where(c => !_texts.Contains(c))];

    /// <summary>Of its columns, in words.</summary>
    public string Kinds => _texts.Count > 0 ? "a text each" : $"{_columns.Count - 1} columns, {Categories.Count} of them categories";

    private string Path => System.IO.Path.Combine(_folder, "table.csv");

    public IDataView Load(MLContext ml) => ml.Data.Cache(ml.Data.LoadFromTextFile(Path, [.. _columns], separatorChar: ',', hasHeader: true, allowQuoting: true));

    /// <summary>The table's columns as "Features" and "Label".</summary>
    public IEstimator<ITransformer> Encode(MLContext ml)
    {
        IEstimator<ITransformer> encode = ml.Transforms.Concatenate("Features", [.. Names(DataKind.Single), .. Names(DataKind.String)]);
        if (Categories is { Count: > 0 } categories)
            encode = ml.Transforms.Categorical.OneHotEncoding([.. categories.Select(c => new InputOutputColumnPair(c))]).Append(encode);
        foreach (var text in _texts)
            encode = ml.Transforms.Text.FeaturizeText(text).Append(encode);
        return _hasClasses ? ml.Transforms.Conversion.MapValueToKey(Label).Append(encode) : encode;
    }

    /// <summary>The table's numbers as "Features", where it has some, its categories as keys, and what makes the trainer of these.</summary>
    /// <param name="ml">The context.</param>
    /// <param name="make">A trainer of the categories' columns and the features column, "" where there is none.</param>
    public IEstimator<ITransformer> Keyed(MLContext ml, Func<string[], string, IEstimator<ITransformer>> make)
    {
        var numbers = Names(DataKind.Single);
        IEstimator<ITransformer> encode = ml.Transforms.Conversion.MapValueToKey([.. Categories.Select(c => new InputOutputColumnPair(c))]);
        if (numbers.Count > 0)
            encode = encode.Append(ml.Transforms.Concatenate("Features", [.. numbers]));
        return encode.AppendCacheCheckpoint(ml).Append(make([.. Categories], numbers.Count > 0 ? "Features" : ""));
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private List<string> Names(DataKind kind) => [.. _columns.Skip(1).Where(c => c.DataKind == kind).Select(c => c.Name)];

    private void Export(string script)
    {
        try
        {
            using var r = Process.Start(new ProcessStartInfo("Rscript", ["--vanilla", "-e", script]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            var words = r.StandardError.ReadToEndAsync();
            using (var file = File.Create(Path))
                r.StandardOutput.BaseStream.CopyTo(file);
            r.WaitForExit();
            if (r.ExitCode != 0)
                throw new InvalidDataException(words.Result.Trim());
        }
        catch (Win32Exception e)
        {
            throw new InvalidDataException(e.Message);
        }
    }
}
